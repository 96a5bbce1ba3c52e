/** The main module of the page: takes an image, and shows its text and the outlines of its lines. */

import { Account } from "./account.js";
import { recognise } from "./api.js";
import { curlCommand } from "./command.js";
import { checkFile, toDataUrl } from "./image.js";
import { Lines, turnOf } from "./lines.js";
import { Viewer } from "./viewer.js";

const find = (id) => document.getElementById(id);

/** The image to read after a sign-in, or null. */
let pendingFile = null;
/** The AbortController of the image that is being read, or null. */
let currentRead = null;
let text = "";
let imageUrl = "";
let downloadUrl = "";

const account = new Account(find, {
  onError: (error) => showMessage("error", sentence(error.message)),
  onSignedIn: () => {
    showMessage("status", "Signed in.");
    if (pendingFile) read(pendingFile);
    else find("choose").focus();
  },
  onSignedOut: () => {
    pendingFile = null;
    clearResult();
    showMessage("status", "Signed out.");
  },
});
const viewer = new Viewer(find("viewer"));
const lines = new Lines(find("lines"), viewer.outlines, markLine);

/** Returns a message of the server as a sentence. */
function sentence(message) {
  return /[.!?)]$/.test(message) ? message : `${message}.`;
}

function showMessage(id, message) {
  find("error").textContent = id === "error" ? message : "";
  find("status").textContent = id === "status" ? message : "";
}

function setBusy(controller) {
  currentRead = controller;
  document.body.classList.toggle("busy", controller !== null);
  find("result").setAttribute("aria-busy", String(controller !== null));
  find("cancel").hidden = controller === null;
}

function clearResult() {
  find("result").hidden = true;
  viewer.clear();
  lines.show([], "");
  URL.revokeObjectURL(imageUrl);
  URL.revokeObjectURL(downloadUrl);
}

/**
 * Reads an image; cancels the reading of another one.
 * @param {File} file
 */
async function read(file) {
  currentRead?.abort();
  const controller = new AbortController();
  clearResult();
  setBusy(controller);
  showMessage("status", `Reading ${file.name} …`);
  try {
    const mediaType = await checkFile(file);
    await showPicture(file, controller.signal);
    showCommand(file.name, mediaType);
    const dataUrl = await toDataUrl(file, mediaType);
    const reply = await recognise(dataUrl, file.name, controller.signal);
    if (controller.signal.aborted) return;
    pendingFile = null;
    showText(reply, file.name);
  } catch (error) {
    if (controller.signal.aborted) return;
    fail(error, file);
  } finally {
    if (currentRead === controller) setBusy(null);
  }
  if (find("sign-in").hidden) await account.refresh();
}

function fail(error, file) {
  showMessage("error", sentence(error.message));
  find("transcript").hidden = true;
  pendingFile = error.status === 401 ? file : null;
  if (error.status === 401) {
    account.askForKey();
    find("key").focus();
  }
}

async function showPicture(file, signal) {
  imageUrl = URL.createObjectURL(file);
  find("transcript").hidden = true;
  find("result").hidden = false;
  const size = await viewer.show(imageUrl, `The image ${file.name}`);
  if (signal.aborted) return;
  find("caption").textContent = size ? `${file.name}, ${size.width} × ${size.height} px` : file.name;
}

function showCommand(filename, mediaType) {
  find("command").textContent = curlCommand(location.origin, filename, mediaType);
}

function showText(reply, filename) {
  const words = reply.ocrResult.words_info;
  text = reply.content;
  lines.show(words, text);
  viewer.turnTo(turnOf(words));
  downloadUrl = URL.createObjectURL(new Blob([text, "\n"], { type: "text/plain;charset=utf-8" }));
  find("download").href = downloadUrl;
  find("download").download = `${filename.replace(/\.[^.]*$/, "")}.txt`;
  find("no-text").hidden = words.length > 0;
  find("lines-hint").hidden = words.length === 0;
  find("transcript").hidden = false;
  const count = text === "" ? 0 : text.split("\n").length;
  const doubts = reply.warnings.map((warning) => ` In doubt: ${sentence(warning)}`).join("");
  showMessage("status", (count === 1 ? "1 line of text." : `${count} lines of text.`) + doubts);
}

function markLine(word, isFocused) {
  const part = word?.parts > 1 ? `, part ${word.part} of ${word.parts}` : "";
  const caption = word ? `Line ${word.line}${part}, ${Math.round(word.confidence * 100)} % sure.` : "";
  find("line-caption").textContent = caption;
  viewer.enlarge(word?.location ?? null);
  if (isFocused) viewer.reveal(word.location);
}

async function copy(content, what) {
  try {
    if (navigator.clipboard) await navigator.clipboard.writeText(content);
    else copyBySelection(content);
    showMessage("status", `${what} copied.`);
  } catch {
    showMessage("error", `The browser does not let this page copy. Select the text and copy it.`);
  }
}

/** Copies without the clipboard interface, which browsers withhold on plain http from other machines. */
function copyBySelection(content) {
  const field = document.createElement("textarea");
  const before = document.activeElement;
  field.value = content;
  field.className = "visually-hidden";
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  before?.focus();
  if (!done) throw new Error("not copied");
}

function readFirst(files) {
  if (files.length > 0) read(files[0]);
  else showMessage("error", "This is not an image file. Save the image, then choose the file.");
}

function listen() {
  const file = find("file");
  find("choose").addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    if (file.files.length > 0) read(file.files[0]);
    file.value = ""; // else choosing the same file again fires no event
  });
  find("cancel").addEventListener("click", () => {
    currentRead?.abort();
    setBusy(null);
    clearResult();
    showMessage("status", "Cancelled.");
    find("choose").focus();
  });
  find("copy").addEventListener("click", () => copy(text, "Text"));
  find("copy-command").addEventListener("click", () => copy(find("command").textContent, "Command"));
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length > 0) readFirst(event.clipboardData.files);
  });
  listenToDrops();
}

function listenToDrops() {
  const mark = (isOver) => document.body.classList.toggle("dropping", isOver);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(true);
  });
  document.addEventListener("dragleave", (event) => mark(event.relatedTarget !== null));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    readFirst(event.dataTransfer.files);
  });
}

showCommand("page.png", "image/png");
listen();
account.refresh();
