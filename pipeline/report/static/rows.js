/** The pages of the report as columns, and how they are ordered, filtered and grouped. A row is a number from 0. */

import { keyOf } from "./corrections.js";

export const STATES = ["done", "duplicate", "skipped", "failed", "uncertain"];
export const IN_DOUBT = 1;
export const CORRECTED = 2;
export const CHECKED = 4;
/** The file has another content than the one that was read; no correction changes this. */
export const CHANGED = 8;

/** A text of fewer characters is short: a page number, a stamp, or a page that was hardly read. */
export const SHORT_CHARACTERS = 50;

const FAILED = STATES.indexOf("failed");
const SKIPPED = STATES.indexOf("skipped");
const DUPLICATE = STATES.indexOf("duplicate");
export const numbers = new Intl.NumberFormat("en");
const collator = new Intl.Collator("en", { numeric: true });

/** Filters by name: each says whether a row is shown. */
export const FILTERS = {
  all: ["All pages", () => true],
  failed: ["Failed", (rows, row) => rows.states[row] >= FAILED],
  doubt: ["In doubt", (rows, row) => (rows.flagsOf(row) & IN_DOUBT) !== 0],
  short: ["Short texts", (rows, row) => rows.states[row] < SKIPPED && rows.lengths[row] < SHORT_CHARACTERS],
  duplicate: ["Duplicates", (rows, row) => rows.states[row] === DUPLICATE],
  skipped: ["Blank or skipped", (rows, row) => rows.states[row] === SKIPPED],
  changed: ["Changed", (rows, row) => rows.hasChanged(row)],
  corrected: ["Corrected", (rows, row) => (rows.flagsOf(row) & CORRECTED) !== 0],
  checked: ["Checked", (rows, row) => (rows.flagsOf(row) & CHECKED) !== 0],
  unchecked: ["Not checked", (rows, row) => (rows.flagsOf(row) & CHECKED) === 0],
};

/** Orders by name: each compares two rows, which else come in the order of their documents. */
export const ORDERS = {
  worst: ["Worst first", (rows, a, b) => rows.doubtOf(a) - rows.doubtOf(b)],
  document: ["By document", () => 0],
  newest: ["Newest first", (rows, a, b) => rows.added[b] - rows.added[a]],
  longest: ["Longest first", (rows, a, b) => rows.lengths[b] - rows.lengths[a]],
};

/** The columns. */
export class Rows {
  constructor(count) {
    this.count = count;
    this.names = new Array(count);
    this.pages = new Int32Array(count);
    this.states = new Uint8Array(count);
    this.flags = new Uint8Array(count);
    this.scores = new Float32Array(count);
    this.lengths = new Int32Array(count);
    this.added = new Float64Array(count);
    this.bytes = new Map();
    this.thumbnails = new Map();
    /** Flags of rows that were reviewed since the report was built. */
    this.saved = new Map();
    /** Flags that corrections in this browser give a row. */
    this.overlay = new Map();
    this.documents = [];
    this.documentOf = new Int32Array(count);
    this.byKey = null;
  }

  /**
   * Adds the rows of a data file.
   * @param {number} first The first one.
   * @param {any[][]} entries
   */
  fill(first, entries) {
    for (const [at, [name, page, state, flags, score, length, added, bytes, thumbnail]] of entries.entries()) {
      const row = first + at;
      this.names[row] = name;
      this.pages[row] = page;
      this.states[row] = state;
      this.flags[row] = flags;
      this.scores[row] = score;
      this.lengths[row] = length;
      this.added[row] = added;
      if (bytes != null) this.bytes.set(row, bytes);
      if (thumbnail !== undefined) this.thumbnails.set(row, thumbnail);
    }
  }

  /** Groups the rows: a file of several pages is a document, and so are the other files of a folder. */
  group() {
    const members = new Map();
    for (let row = 0; row < this.count; row += 1) {
      const name = this.names[row];
      const document = this.isPaged(row) ? name : name.slice(0, name.lastIndexOf("/") + 1);
      if (members.has(document)) members.get(document).push(row);
      else members.set(document, [row]);
    }
    const names = [...members.keys()].sort(collator.compare);
    this.documents = names.map((name) => ({ name, rows: members.get(name) }));
    for (const [number, { rows }] of this.documents.entries()) {
      const isFolder = this.names[rows[0]] !== this.names[rows.at(-1)];
      if (isFolder) rows.sort((a, b) => collator.compare(this.names[a], this.names[b]));
      for (const row of rows) this.documentOf[row] = number;
    }
  }

  /** Returns whether a row is one of several pages of a file. */
  isPaged(row) {
    return this.names[row - 1] === this.names[row] || this.names[row + 1] === this.names[row];
  }

  /** Returns the flags of a row as the workspace has it. */
  savedFlagsOf(row) {
    return this.saved.get(row) ?? this.flags[row];
  }

  /** Returns the flags of a row, with what was done in this browser. */
  flagsOf(row) {
    return this.overlay.get(row) ?? this.savedFlagsOf(row);
  }

  /**
   * Returns the flags of a row whose text was reviewed.
   * @param {number} row
   * @param {boolean} isCorrected
   * @param {boolean} isChecked
   */
  reviewedFlags(row, isCorrected, isChecked) {
    const flags = (isChecked ? CHECKED : 0) | (isCorrected ? CORRECTED : 0);
    return flags | (flags === 0 ? this.flags[row] & IN_DOUBT : 0);
  }

  /**
   * Notes a review of a row.
   * @param {number} row
   * @param {import("./live.js").Review} review
   * @returns {boolean} whether it is later than the report
   */
  review(row, review) {
    if (Date.parse(review.added) < this.added[row] * 1000) return false;
    this.saved.set(row, this.reviewedFlags(row, review.corrected, review.checked));
    this.lengths[row] = Array.from(review.text).length;
    if (this.states[row] >= FAILED) this.states[row] = STATES.indexOf("done");
    return true;
  }

  /** Returns the name under which the correction of a row is kept. */
  keyOf(row) {
    return keyOf({ source: this.names[row], source_b64: this.bytes.get(row), page: this.pages[row] });
  }

  /** Returns whether the file of a row has changed since it was read. */
  hasChanged(row) {
    return (this.flags[row] & CHANGED) !== 0;
  }

  /** Marks whether the file of a row has changed; returns whether that is news. */
  markChanged(row, hasChanged) {
    const before = this.flags[row];
    this.flags[row] = hasChanged ? before | CHANGED : before & ~CHANGED;
    return this.flags[row] !== before;
  }

  /** Returns a number that is lower for pages that rather want a look: failed, in doubt, by score, reviewed last. */
  doubtOf(row) {
    const [state, flags, score] = [this.states[row], this.flagsOf(row), this.scores[row]];
    if (flags & (CORRECTED | CHECKED)) return 5;
    if (state >= FAILED) return 0;
    if (state === SKIPPED) return 4;
    if (score < 0) return 3;
    return (flags & IN_DOUBT ? 1 : 2) + score * 0.99;
  }

  /**
   * Returns all rows in an order.
   * @param {string} order Of `ORDERS`.
   */
  sorted(order) {
    const byDocument = Int32Array.from(this.documents.flatMap(({ rows }) => rows));
    const compare = ORDERS[order][1];
    return order === "document" ? byDocument : byDocument.sort((a, b) => compare(this, a, b));
  }

  /**
   * Returns the number of rows that each filter shows.
   * @returns {Record<string, number>}
   */
  counts() {
    const counts = {};
    for (const [name, [, shows]] of Object.entries(FILTERS)) {
      counts[name] = 0;
      for (let row = 0; row < this.count; row += 1) counts[name] += shows(this, row);
    }
    return counts;
  }

  /**
   * Returns the row of a page; -1 when there is none.
   * @param {{source: string, source_b64?: string, page: number}} page
   */
  find(page) {
    this.byKey ??= new Map(Array.from(this.names, (_, row) => [this.keyOf(row), row]));
    return this.byKey.get(keyOf(page)) ?? -1;
  }
}
