/** What is said of a page beside its text. */

import { sentenceOf } from "./live.js";
import { visible } from "./names.js";
import { CHECKED, CORRECTED, IN_DOUBT, STATES, numbers } from "./rows.js";

/**
 * Returns what a row's state and flags are called.
 * @param {import("./rows.js").Rows} rows
 * @param {number} row
 */
export function labelsOf(rows, row) {
  const [state, flags] = [STATES[rows.states[row]], rows.flagsOf(row)];
  const labels = state === "done" ? [] : [state];
  if (rows.hasChanged(row)) labels.push("changed");
  if (flags & CORRECTED) labels.push("corrected");
  if (flags & CHECKED) labels.push("checked");
  if (flags & IN_DOUBT && !(flags & (CORRECTED | CHECKED))) labels.push("in doubt");
  return labels;
}

/**
 * Returns the size of a row's text and its score.
 * @param {import("./rows.js").Rows} rows
 * @param {number} row
 */
export function measuresOf(rows, row) {
  const length = rows.lengths[row];
  const score = rows.scores[row] < 0 ? [] : [`score ${rows.scores[row].toFixed(2)}`];
  return [`${numbers.format(length)} character${length === 1 ? "" : "s"}`, ...score];
}

/** Returns a sentence about a page whose file has another content than the one that had this text. */
export function changeOf(text) {
  const former = text === "" ? "" : "; the text is of the former content";
  return `This file has changed since it was read${former}. The next run reads it anew.`;
}

/**
 * Returns sentences about a page: how it ended, and who has reviewed it.
 * @param {object} details
 * @param {import("./live.js").Review | null} review Since the report was built.
 * @param {import("./reviewer.js").Reviewer} reviewer
 */
export function notesOf(details, review, reviewer) {
  const sentences = [];
  if (details.problem !== undefined && review === null) sentences.push(details.problem);
  if (details.duplicateOf !== undefined) sentences.push(`The same content as ${visible(details.duplicateOf)}.`);
  if (details.skipped !== undefined) sentences.push(`It was not sent: ${details.skipped}.`);
  if (details.note !== undefined) sentences.push(`Note: ${details.note}.`);
  if (review !== null) sentences.push(tellReview(review, reviewer));
  else if (details.at !== undefined) {
    const by = details.by ? ` by ${visible(details.by)}` : "";
    sentences.push(`Reviewed ${details.at.slice(0, 10)}${by}.`);
  }
  return sentences;
}

/**
 * Returns a sentence about a review.
 * @param {import("./live.js").Review} review
 * @param {import("./reviewer.js").Reviewer} reviewer
 */
export function tellReview(review, reviewer) {
  const name = visible(review.by ?? "Somebody").replace(/^reviewer (?=[0-9a-f]{8}$)/u, "Reviewer ");
  return sentenceOf(review, reviewer.has(review) ? "You" : name);
}

/**
 * Returns a sentence about where a correction is.
 * @param {import("./corrections.js").Correction} correction
 */
export function standing({ isSaved, isDownloaded, refused }) {
  if (refused !== undefined) return `Your correction was refused: ${refused}.`;
  if (isSaved) return "Your correction is saved in the workspace.";
  return isDownloaded
    ? "Your correction is in a file, and is not folded in yet."
    : "Your correction is in this browser only.";
}
