/** The page that is open: what is said of it, and what a person does to its text. */

import { isOf } from "./corrections.js";
import { Editor, MOST_EDITABLE, editedLines } from "./editor.js";
import { isOfInputMethod } from "./keyboard.js";
import { visible } from "./names.js";
import { changeOf, labelsOf, measuresOf, notesOf, standing } from "./notes.js";
import { Reader, areWhole } from "./reader.js";
import { CHECKED, STATES } from "./rows.js";

const UNSHOWN_CORRECTION =
  "Your correction in this browser is of the content that the file had before, and not shown here.";

/** The view of one page. */
export class PageView {
  /**
   * @param {(id: string) => HTMLElement} find
   * @param {{store: object, rows: object, corrections: object, live: object, reviewer: object, isServed: boolean,
   * onChange: (row: number) => void, onMark: () => void, go: (row: number) => void,
   * say: (text: string) => void}} context
   */
  constructor(find, context) {
    this.find = find;
    this.context = context;
    this.reader = new Reader(find, context.isServed);
    this.editor = new Editor(find("editor"), this.reader.viewer);
    this.row = -1;
    this.page = null;
    /** The page as the workspace had it when the edit began. */
    this.seen = null;
    find("edit").addEventListener("click", () => (this.editor.isOpen ? this.save() : this.edit()));
    find("discard").addEventListener("click", () => this.discard());
    find("check").addEventListener("click", () => this.toggleChecked());
    find("undo").addEventListener("click", () => this.forget());
    find("previous").addEventListener("click", () => this.turn(-1));
    find("next").addEventListener("click", () => this.turn(1));
    find("editor").addEventListener("keydown", (event) => {
      if (isOfInputMethod(event)) return;
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.save();
      else if (event.key === "Escape" && !this.editor.isChanged) this.discard();
      else return;
      event.preventDefault();
    });
  }

  /** Opens a row; what was being edited is kept. */
  async open(row) {
    if (this.editor.isOpen) this.save();
    const { store } = this.context;
    this.row = row;
    this.page = null;
    this.#describe();
    this.find("page-notes").textContent = "";
    for (const id of ["undo", "original", "others"]) this.find(id).hidden = true;
    this.reader.clear();
    this.find("page").setAttribute("aria-busy", "true");
    try {
      const [text, details] = await Promise.all([store.get("texts", row), store.get("details", row)]);
      if (this.row !== row) return;
      this.page = { row, name: this.context.rows.names[row], text, details };
      this.find("page").removeAttribute("aria-busy");
      this.#showDetails();
      const hasChanged = await this.reader.show({ ...this.page, now: this.#now() });
      if (hasChanged !== null && this.context.rows.markChanged(row, hasChanged)) this.context.onMark();
    } catch (error) {
      this.context.say(error.message);
    }
  }

  /** Turns to another page of the document. */
  turn(by) {
    if (this.row < 0) return;
    const { rows, go } = this.context;
    const members = rows.documents[rows.documentOf[this.row]].rows;
    const row = members[members.indexOf(this.row) + by];
    if (row !== undefined) go(row);
  }

  /** Begins to edit the text. */
  edit() {
    if (this.page === null || this.find("edit").disabled) return;
    const { text, details } = this.page;
    this.seen = this.saved();
    const words = details.lines !== undefined && areWhole(details.lines, text) ? this.reader.words : [];
    this.find("reading").hidden = true;
    this.editor.open(this.#now(), words, text);
    this.#showButtons();
  }

  /** Ends the edit, and keeps the text. */
  save() {
    if (!this.editor.isOpen) return;
    const { isChanged, value } = this.editor;
    const { seen } = this;
    this.#endEdit();
    if (isChanged) this.#keep(value, this.#isChecked(), seen);
  }

  /** Ends the edit, and leaves the text as it was. */
  discard() {
    this.#endEdit();
    this.context.say("The edit was discarded.");
  }

  /** Marks the page as checked, or no longer so. */
  toggleChecked() {
    if (this.page === null) return;
    if (this.editor.isOpen) this.save();
    if (this.find("check").disabled) return;
    this.#keep(this.#now(), !this.#isChecked(), this.saved());
  }

  /** Forgets what was done to the page in this browser. */
  forget() {
    if (this.page === null) return;
    this.context.corrections.remove(this.#key());
    this.#changed();
    this.context.say("Your correction was discarded.");
  }

  /** Returns the page as the workspace has it. */
  saved() {
    const { row, text, details } = this.page;
    return this.context.live.over(row, text, details);
  }

  /** Shows again what a correction has changed. */
  refresh() {
    if (this.page === null) return;
    this.#describe();
    this.#showDetails();
    if (!this.editor.isOpen) void this.reader.show({ ...this.page, now: this.#now() });
  }

  #name() {
    const { rows } = this.context;
    const bytes = rows.bytes.get(this.row);
    const name = { source: rows.names[this.row], page: rows.pages[this.row] };
    return bytes === undefined ? name : { ...name, source_b64: bytes };
  }

  #key() {
    return this.context.rows.keyOf(this.row);
  }

  #correction() {
    const kept = this.context.corrections.get(this.#key());
    return kept !== null && isOf(kept, this.saved().details) ? kept : null;
  }

  #now() {
    return this.#correction()?.text ?? this.saved().text;
  }

  #isChecked() {
    return (this.context.rows.flagsOf(this.row) & CHECKED) !== 0;
  }

  /** Keeps a text and a mark; `seen` is the page as the person saw it, which others may have corrected since. */
  #keep(now, checked, { text, details }) {
    const { corrections, reviewer, rows } = this.context;
    const isChanged = now !== text;
    const former = this.#correction();
    if (!isChanged && checked === ((rows.savedFlagsOf(this.row) & CHECKED) !== 0) && !isDelivered(former)) {
      corrections.remove(this.#key());
    } else {
      const lines = isChanged && details.lines !== undefined && text === this.page.text ? this.#linesOf(now) : null;
      corrections.put({
        ...this.#name(),
        ...(details.id === null ? {} : { id: details.id }),
        ...(isChanged || isDelivered(former) ? { text: now } : {}),
        ...(lines === null ? {} : { lines }),
        checked,
        base: this.#baseOf(former, details),
        at: new Date().toISOString(),
        ...(reviewer.name === "" ? {} : { by: reviewer.name }),
        ...(isDelivered(former) ? { wasDelivered: true } : {}),
      });
    }
    this.#changed();
  }

  /**
   * Returns `added` of the record that an edit corrects. The edits of one report correct the record that it had shown;
   * an edit of what was refused, also by `pagemill correct`, corrects what another person wrote, which is shown then.
   */
  #baseOf(former, details) {
    if (former === null || former.refused !== undefined) return details.added;
    const isLate = !this.context.isServed && details.at !== undefined && !this.context.reviewer.isOf(details);
    return isLate && isDelivered(former) ? details.added : former.base;
  }

  #linesOf(now) {
    const { text, details } = this.page;
    const words = details.lines.map(([line]) => ({ text: line }));
    return areWhole(details.lines, text) ? editedLines(words, text, now) : null;
  }

  #changed() {
    this.context.onChange(this.row);
    this.refresh();
  }

  #endEdit() {
    this.editor.close();
    this.seen = null;
    this.find("reading").hidden = false;
    this.#showButtons();
    this.find("edit").focus();
  }

  #describe() {
    const { rows } = this.context;
    const { name, rows: members } = rows.documents[rows.documentOf[this.row]];
    const place = members.indexOf(this.row);
    this.find("page-name").textContent = visible(rows.names[this.row]);
    const isWhole = rows.isPaged(this.row);
    const what = isWhole ? "this file" : name === "" ? "the folder" : visible(name);
    this.find("page-place").textContent = members.length === 1 ? "" : `${place + 1} of ${members.length} in ${what}`;
    this.find("previous").disabled = place === 0;
    this.find("next").disabled = place === members.length - 1;
    const number = isWhole ? [`page ${rows.pages[this.row]}`] : [];
    this.find("page-facts").textContent = [
      ...number,
      ...measuresOf(rows, this.row),
      ...labelsOf(rows, this.row),
    ].join(" · ");
  }

  #showDetails() {
    const { details, text } = this.page;
    const { review, text: saved } = this.saved();
    const { rows, reviewer } = this.context;
    const sentences = notesOf(details, review, reviewer);
    if (rows.hasChanged(this.row)) sentences.unshift(changeOf(text));
    const correction = this.#correction();
    if (correction !== null) sentences.push(standing(correction));
    else if (this.context.corrections.get(this.#key()) !== null) sentences.push(UNSHOWN_CORRECTION);
    this.find("page-notes").textContent = sentences.join(" ");
    const original = details.original ?? (this.#now() === text ? undefined : text);
    this.find("original").hidden = original === undefined;
    this.find("original-text").textContent = (original ?? "").slice(0, MOST_EDITABLE);
    const isReviewed = review !== null || details.at !== undefined; // else it is the original text
    const isOthers = correction !== null && isReviewed && saved !== this.#now();
    this.find("others").hidden = !isOthers;
    this.find("others-text").textContent = isOthers ? saved.slice(0, MOST_EDITABLE) : "";
    this.#showButtons();
  }

  /** Returns why the text cannot be edited, and why not marked as checked: `pagemill correct` would refuse it. */
  #obstacles() {
    const { details } = this.page;
    const hasFailed = STATES.indexOf("failed") <= this.context.rows.states[this.row];
    const isDamaged = details.problem !== undefined && !hasFailed && this.saved().review === null;
    const isUnreadable = details.id === null || isDamaged;
    if (isUnreadable) return Array(2).fill("No text can be kept for this page: its content or its record was not read");
    const isLong = this.#now().length > MOST_EDITABLE;
    return [
      isLong ? "The text is too long to edit here; pagemill correct takes it from a file" : "",
      hasFailed && this.#now() === "" ? "There is no text to check" : "",
    ];
  }

  #showButtons() {
    const { isOpen } = this.editor;
    this.find("edit").textContent = isOpen ? "Save" : "Edit";
    this.find("discard").hidden = !isOpen;
    this.find("editor-hint").hidden = !isOpen;
    this.find("check").setAttribute("aria-pressed", String(this.#isChecked()));
    this.find("undo").hidden = isOpen || this.#correction() === null || isDelivered(this.#correction());
    const [unedited, unchecked] = this.#obstacles();
    this.find("edit").disabled = unedited !== "";
    this.find("edit").title = unedited;
    this.find("check").disabled = unchecked !== "";
    this.find("check").title = unchecked;
  }
}

/** Returns whether a correction has left the browser, so that only another one can undo it. */
function isDelivered(correction) {
  return [correction?.isSaved, correction?.isDownloaded, correction?.wasDelivered].includes(true);
}
