/** What a person did to texts in this browser: kept until a report has it, and downloaded as JSON lines. */

/**
 * @typedef {{source: string, source_b64?: string, page: number, id?: string, text?: string, lines?: string[],
 * checked: boolean, base: string, at: string, by?: string, isSaved?: boolean, isDownloaded?: boolean,
 * wasDelivered?: boolean, refused?: string}} Correction
 * `base` is when the record that was shown was added; `by` is absent while the person has given no name; `isSaved`: the
 * server of the report has folded it in; `isDownloaded`: it is in a file; `wasDelivered`: so is a former correction of
 * the page; `refused`: why the server has not folded it in.
 */

/** Returns the name under which a page's correction is kept. */
export function keyOf({ source, source_b64: bytes, page }) {
  return JSON.stringify([bytes === undefined ? source : null, bytes ?? null, page]);
}

/** Returns whether a correction is of the content that a page has: its file may have another one since. */
export function isOf(correction, details) {
  return (correction.id ?? null) === details.id;
}

/**
 * Returns whether a report has got what a correction did, or what was done to the page later.
 * @param {Correction} correction
 * @param {object} details Of its page.
 * @param {boolean} isSame Whether the page has the correction's text and mark.
 * @param {boolean} isServed Whether a server tells of each correction what became of it.
 */
export function isSettled(correction, details, isSame, isServed) {
  if (details.added === correction.base) return false; // the record that it corrects: one that is the same undoes another
  const isReviewedSince = Date.parse(details.at) >= Date.parse(correction.at);
  const isInReport = !isServed && correction.isDownloaded === true && isReviewedSince;
  return isSame || correction.isSaved === true || isInReport;
}

/**
 * Returns corrections as the lines of a file for `pagemill correct`.
 * @param {Correction[]} corrections
 * @param {{by: string, browser: string}} signature Of those that were made without a name, too: a name given later
 * belongs to the same person.
 */
export function toLines(corrections, signature) {
  const lines = corrections.map(
    ({ isSaved, isDownloaded, wasDelivered, refused, ...fields }) => `${JSON.stringify({ ...signature, ...fields })}\n`,
  );
  return lines.join("");
}

/** Corrections of one workspace. */
export class Corrections {
  /**
   * @param {Storage | null} storage null where the browser has none.
   * @param {string} workspace Its id.
   * @param {{onChange: () => void, onOthersChange: () => void}} actions The latter is for what another tab has changed.
   */
  constructor(storage, workspace, { onChange, onOthersChange }) {
    this.storage = storage;
    this.prefix = `pagemill ${workspace} `;
    this.onChange = onChange;
    /** Whether the browser keeps them when the page is closed. */
    this.isKept = storage !== null;
    this.all = new Map();
    /** Those that the browser had no space for. */
    this.unkept = new Map();
    this.#read();
    window.addEventListener("storage", (event) => {
      if (event.key !== null && !event.key.startsWith(this.prefix)) return;
      this.#read();
      this.onChange();
      onOthersChange();
    });
  }

  /** Returns the correction of a page, if there is one. */
  get(key) {
    return this.all.get(key) ?? null;
  }

  /** Returns those that no workspace has, as far as this browser knows. */
  unsaved() {
    return [...this.all.values()].filter(({ isSaved }) => !isSaved);
  }

  /** Keeps a correction in place of the page's former one. */
  put(correction) {
    const key = keyOf(correction);
    this.all.set(key, correction);
    try {
      this.storage?.setItem(this.prefix + key, JSON.stringify(correction));
      this.unkept.delete(key);
    } catch {
      this.unkept.set(key, correction);
      this.isKept = false; // the browser's space for this is used up, or it keeps nothing
    }
    this.onChange();
  }

  /** Forgets a correction. */
  remove(key) {
    this.all.delete(key);
    this.unkept.delete(key);
    this.storage?.removeItem(this.prefix + key);
    this.onChange();
  }

  #read() {
    if (this.storage === null) return;
    this.all.clear();
    for (const name of Object.keys(this.storage)) {
      if (!name.startsWith(this.prefix)) continue;
      try {
        this.all.set(name.slice(this.prefix.length), JSON.parse(this.storage.getItem(name)));
      } catch {
        this.storage.removeItem(name); // not one of ours
      }
    }
    for (const [key, correction] of this.unkept) this.all.set(key, correction);
  }
}

/** Returns the browser's storage; null where it has none, or gives none to this page. */
export function findStorage() {
  try {
    const { localStorage: storage } = window;
    storage.getItem("pagemill"); // one that is full has what it keeps
    return storage;
  } catch {
    return null;
  }
}
