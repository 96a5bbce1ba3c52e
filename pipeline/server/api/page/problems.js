/** Errors as sentences that say what to do, and what follows from them for the file and for the queue. */

import { ApiError, InterruptedError } from "./api.js";
import { InvalidFileError } from "./image.js";
import { days, duration, numbers } from "./sentences.js";

/** Pause after a 429 that names none. */
const DEFAULT_WAIT_S = 5;

const months = new Intl.DateTimeFormat("en", { month: "long", year: "numeric", timeZone: "UTC" });

/**
 * What is wrong, and what follows.
 * @typedef {object} Problem
 * @property {string} text In sentences.
 * @property {("retry" | "choose" | "sign-in")[]} ways What the user can do.
 * @property {boolean} pauses Whether it stops the queue: another file would fail in the same way.
 * @property {number} waitS After how many seconds the queue goes on by itself; 0 when it does not.
 */

/**
 * Returns what an error means.
 * @param {Error} error
 * @param {string} name Of the file, or of the page of a PDF.
 * @returns {Problem}
 */
export function explain(error, name) {
  if (error instanceof InvalidFileError) return ofFile(error.message);
  if (error instanceof InterruptedError) {
    return ofFile(`${error.message} Try ${name} again.`, ["retry"]);
  }
  if (!(error instanceof ApiError)) {
    return ofFile(`The browser failed at ${name}: ${sentence(error.message)} Try again.`, ["retry"]);
  }
  switch (error.status) {
    case 0:
      return ofServer("The server cannot be reached. See that it runs and that you are connected, then try again.");
    case 401:
      return ofServer("This server needs an API key. Sign in, and reading goes on.", ["sign-in"]);
    case 403:
      return ofServer(forbidden(error.message), ["retry", "sign-in"]);
    case 429:
      return busy(error);
    case 400:
      return ofFile(rejected(error.message, name));
    case 501:
      return ofFile(sentence(error.message));
    case 500:
      return ofFile(`The server failed at ${name}; its log has the reason. Try again.`, ["retry"]);
    default:
      return ofServer(`The server answered with the status ${error.status}. ${sentence(error.message)} Try again.`);
  }
}

function ofFile(text, ways = ["choose"]) {
  return { text, ways, pauses: false, waitS: 0 };
}

function ofServer(text, ways = ["retry"]) {
  return { text, ways, pauses: true, waitS: 0 };
}

function busy({ message, waitS }) {
  const seconds = waitS > 0 ? waitS : DEFAULT_WAIT_S;
  let reason = "The server is busy.";
  if (message.includes("rate limit")) reason = "This key makes calls faster than the server allows.";
  if (message.includes("stopping")) reason = "The server is being stopped.";
  if (message.includes("wrong keys")) reason = "Too many wrong keys were tried.";
  const text = `${reason} Reading goes on in ${duration(seconds)}.`;
  return { text, ways: ["retry"], pauses: true, waitS: seconds };
}

function forbidden(message) {
  const spent = /^Insufficient quota: all (\d+) calls of (\S+) are used; they reset at (\S+)$/.exec(message);
  if (spent === null) return sentence(message.replace(/^Forbidden: /, ""));
  const [, calls, month, resets] = spent;
  const until = `The count starts again on ${days.format(new Date(resets))}.`;
  return `All ${numbers.format(calls)} calls of ${months.format(new Date(month))} are used. ${until}`;
}

function rejected(message, name) {
  const size = /^image is (\d+)x(\d+) px; at (least|most) (\d+)x(\d+) px (?:needed|allowed)$/.exec(message);
  if (size !== null) {
    const [width, height, boundWidth, boundHeight] = [1, 2, 4, 5].map((at) => numbers.format(size[at]));
    const need = size[3] === "least" ? "needed. Scan it at a higher resolution" : "taken. Make it smaller";
    const has = `${name} has ${width} × ${height} px; at ${size[3]} ${boundWidth} × ${boundHeight} px are`;
    return `${has} ${need}, then choose it again.`;
  }
  const pdf = /^(?:page \d+ of )?the PDF (.*)$/.exec(message);
  if (pdf !== null) return `${name} ${sentence(pdf[1], false)}`;
  return `${name} cannot be read: ${sentence(message, false)} Choose another file.`;
}

/** Returns a message of the server as a sentence. */
function sentence(message, isWhole = true) {
  const text = isWhole ? message.charAt(0).toUpperCase() + message.slice(1) : message;
  return text === "" || /[.!?]$/.test(text) ? text : `${text}.`;
}
