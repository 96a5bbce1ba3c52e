/** The data files: scripts that call `pagemill.add`, loaded when they are needed. */

/** Files of texts and details that are kept; others are loaded again, from the browser's cache or the disk. */
const MOST_KEPT = 24;
const DIGITS = 4;

/**
 * Returns the place of the last entry that is at most a value, in a list that rises.
 * @param {number[]} begins
 * @param {number} value
 */
export function fileOf(begins, value) {
  let [low, high] = [0, begins.length];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (begins[middle] <= value) low = middle;
    else high = middle;
  }
  return low;
}

/** Loads the data files of a report. */
export class Store {
  /**
   * @param {string} folder Of the data files, relative to the page.
   */
  constructor(folder) {
    this.folder = folder;
    this.waiting = new Map();
    this.kept = new Map();
    this.about = null;
    window.pagemill = { add: (kind, number, json) => this.#add(kind, number, json) };
  }

  /** Loads what the report says about itself. */
  async open() {
    this.about = await this.#load("index", 0, "index.js");
    return this.about;
  }

  /**
   * Returns the entries of a file, and forgets them.
   * @param {string} kind
   * @param {number} number From 0.
   */
  take(kind, number) {
    return this.#load(kind, number, `${kind}-${String(number).padStart(DIGITS, "0")}.js`);
  }

  /**
   * Returns the entry of a page.
   * @param {string} kind "texts" or "details"
   * @param {number} page From 0.
   */
  async get(kind, page) {
    const begins = this.about.begins[kind];
    const number = fileOf(begins, page);
    const key = `${kind} ${number}`;
    const entries = this.kept.get(key) ?? this.take(kind, number);
    this.kept.delete(key);
    this.kept.set(key, entries); // the last one that was used is the last one to go
    if (this.kept.size > MOST_KEPT) this.kept.delete(this.kept.keys().next().value);
    try {
      return (await entries)[page - begins[number]];
    } catch (error) {
      this.kept.delete(key);
      throw error;
    }
  }

  #load(kind, number, file) {
    const key = `${kind} ${number}`;
    const { promise, resolve, reject } = Promise.withResolvers();
    const script = document.createElement("script");
    this.waiting.set(key, [...(this.waiting.get(key) ?? []), resolve]);
    script.src = `${this.folder}/${file}`;
    const end = (reason) => {
      script.remove();
      reject(new Error(`${file} ${reason}`)); // unless it has called `add`
    };
    script.addEventListener("load", () => end("is damaged: build the report again, or copy it again."));
    script.addEventListener("error", () =>
      end("cannot be loaded: the report may have been built again. Reload the page."),
    );
    document.head.append(script);
    return promise;
  }

  #add(kind, number, json) {
    const key = `${kind} ${number}`;
    const waiting = this.waiting.get(key) ?? [];
    this.waiting.delete(key);
    if (waiting.length === 0) return;
    const entries = JSON.parse(json);
    for (const resolve of waiting) resolve(entries);
  }
}
