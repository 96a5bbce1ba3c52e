/** A field with the text of a page; the line that the caret is in is marked in the picture, and enlarged. */

import { languageOf, rowsOf } from "./lines.js";

/** Longer texts are not edited in a browser. */
export const MOST_EDITABLE = 500_000;

/**
 * Returns the texts of the lines after an edit, when each row of the text is one line and none was added or removed.
 * @param {{text: string}[]} words Lines as they were.
 * @param {string} text As it was.
 * @param {string} edited As it is.
 * @returns {string[] | null} null when that cannot be told.
 */
export function editedLines(words, text, edited) {
  const rows = rowsOf(words, text);
  const texts = edited.split("\n").filter((row) => row.trim() !== "");
  if (rows.length !== texts.length || rows.some((row) => row.length !== 1)) return null;
  return texts;
}

/**
 * Returns the words beside a place in a text: those of the row with as many rows before it.
 * @param {{text: string}[]} words
 * @param {string} text To which the words belong.
 * @param {string} edited
 * @param {number} caret In `edited`.
 * @returns {number[]} indices of words
 */
export function wordsAt(words, text, edited, caret) {
  const rows = rowsOf(words, text);
  const before = edited.slice(0, caret).split("\n");
  const end = edited.indexOf("\n", caret);
  before[before.length - 1] += edited.slice(caret, end < 0 ? edited.length : end);
  const row = before.filter((line) => line.trim() !== "").length - 1;
  return (rows[row] ?? []).map(({ index }) => index);
}

/** Edits one text at a time. */
export class Editor {
  /**
   * @param {HTMLTextAreaElement} field
   * @param {import("./viewer.js").Viewer} viewer
   */
  constructor(field, viewer) {
    this.field = field;
    this.viewer = viewer;
    this.words = [];
    this.text = "";
    this.before = "";
    for (const name of ["input", "keyup", "pointerup", "focus"]) field.addEventListener(name, () => this.#follow());
  }

  /** Whether a text is being edited. */
  get isOpen() {
    return !this.field.hidden;
  }

  /** The text as it is now: whole characters, with line feeds. */
  get value() {
    return this.field.value.toWellFormed();
  }

  /** Whether it was changed. */
  get isChanged() {
    return this.isOpen && this.value !== this.before;
  }

  /**
   * Shows a text to edit.
   * @param {string} now The text as it is.
   * @param {{text: string, location: number[]}[]} words Lines in the picture.
   * @param {string} text To which these belong.
   */
  open(now, words, text) {
    this.words = words;
    this.text = text;
    this.field.value = now;
    this.before = this.value;
    this.field.lang = languageOf(now.slice(0, 1000));
    this.field.hidden = false;
    this.field.setSelectionRange(0, 0);
    this.field.focus();
    this.#follow();
  }

  /** Ends the edit. */
  close() {
    this.field.hidden = true;
    this.field.value = "";
    this.#mark([]);
  }

  #follow() {
    if (this.isOpen) this.#mark(wordsAt(this.words, this.text, this.field.value, this.field.selectionStart));
  }

  #mark(indices) {
    for (const [at, outline] of [...this.viewer.outlines.children].entries()) {
      outline.classList.toggle("marked", indices.includes(at));
    }
    const word = this.words[indices[0]];
    this.viewer.enlarge(word?.location ?? null);
    if (word !== undefined) this.viewer.reveal(word.location);
  }
}
