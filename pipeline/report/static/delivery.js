/** How corrections leave the browser: as a file, or to the server of the report. */

import { toLines } from "./corrections.js";

/** Browsers let no longer request outlive its page: 64 KiB of UTF-8. */
const MOST_KEPT_ALIVE = 20_000;

/**
 * Downloads corrections as a file for `pagemill correct`.
 * @param {import("./corrections.js").Correction[]} corrections
 * @param {{by: string, browser: string}} signature
 * @param {string} name
 */
export function download(corrections, signature, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([toLines(corrections, signature)], { type: "application/jsonl" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/**
 * Returns the name of a file of corrections.
 * @param {Date} now
 */
export function fileName(now) {
  return `corrections-${now.toISOString().slice(0, 19).replace(/[:T]/gu, "-")}.jsonl`;
}

/**
 * Saves a correction in the workspace.
 * @param {import("./corrections.js").Correction} correction
 * @param {{by: string, browser: string}} signature
 * @returns {Promise<{state: "saved" | "waiting" | "refused" | "unreachable", reason: string}>}
 */
export async function save(correction, signature) {
  const body = toLines([correction], signature);
  try {
    const reply = await fetch("corrections", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body,
      keepalive: body.length < MOST_KEPT_ALIVE, // the page may be about to close
    });
    if (reply.ok) return await reply.json();
    if (reply.status === 400) return { state: "refused", reason: (await reply.text()).trim() };
    if (reply.status === 503) return { state: "unreachable", reason: (await reply.text()).trim() };
    if (reply.status === 403) return { state: "unreachable", reason: "open the URL that the server has printed" };
    return { state: "unreachable", reason: `the server answered with ${reply.status}` };
  } catch {
    return { state: "unreachable", reason: "the server does not answer" };
  }
}
