/** What a person did to texts in this browser: kept until a report has it, and downloaded as JSON lines. */

/**
 * @typedef {{source: string, source_b64?: string, page: number, id?: string, text?: string, lines?: string[],
 * checked: boolean, base: string, at: string, isSaved?: boolean, isDownloaded?: boolean}} Correction `base` is when the
 * record that was shown was added; `isSaved`: the server of the report has
 * folded it in; `isDownloaded`: it is in a file.
 */

/** Returns the name under which a page's correction is kept. */
export function keyOf({ source, source_b64: bytes, page }) {
  return JSON.stringify([bytes === undefined ? source : null, bytes ?? null, page]);
}

/**
 * Returns corrections as the lines of a file for `pagemill correct`.
 * @param {Correction[]} corrections
 */
export function toLines(corrections) {
  const lines = corrections.map(({ isSaved, isDownloaded, ...fields }) => `${JSON.stringify(fields)}\n`);
  return lines.join("");
}

/** Corrections of one workspace. */
export class Corrections {
  /**
   * @param {Storage | null} storage null where the browser has none.
   * @param {string} workspace Its id.
   * @param {{onChange: () => void}} actions
   */
  constructor(storage, workspace, { onChange }) {
    this.storage = storage;
    this.prefix = `pagemill ${workspace} `;
    this.onChange = onChange;
    /** Whether the browser keeps them when the page is closed. */
    this.isKept = storage !== null;
    this.all = new Map();
    this.#read();
    window.addEventListener("storage", (event) => {
      if (event.key !== null && !event.key.startsWith(this.prefix)) return;
      this.#read();
      this.onChange();
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

  /** Returns those that are nowhere but in this browser. */
  undelivered() {
    return this.unsaved().filter(({ isDownloaded }) => !isDownloaded);
  }

  /** Keeps a correction in place of the page's former one. */
  put(correction) {
    const key = keyOf(correction);
    this.all.set(key, correction);
    try {
      this.storage?.setItem(this.prefix + key, JSON.stringify(correction));
    } catch {
      this.isKept = false; // the browser's space for this is used up, or it keeps nothing
    }
    this.onChange();
  }

  /** Forgets a correction. */
  remove(key) {
    this.all.delete(key);
    this.storage?.removeItem(this.prefix + key);
    this.onChange();
  }

  /** Notes that all are in a file. */
  markDownloaded() {
    for (const correction of this.unsaved()) this.put({ ...correction, isDownloaded: true });
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
  }
}

/** Returns the browser's storage; null where it has none, or gives none to this page. */
export function findStorage() {
  try {
    const { localStorage: storage } = window;
    storage.setItem("pagemill", "");
    storage.removeItem("pagemill");
    return storage;
  } catch {
    return null;
  }
}
