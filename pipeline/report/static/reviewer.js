/** Who corrects in this browser: a random id, and a name when the person gives one. */

const MOST_CHARACTERS = 200;

/** The person who reviews one workspace in this browser. */
export class Reviewer {
  /**
   * @param {Storage | null} storage null where the browser has none.
   * @param {string} workspace Its id.
   * @param {() => void} onOthersChange Called when another tab has changed the name.
   */
  constructor(storage, workspace, onOthersChange) {
    this.storage = storage;
    this.place = `pagemill-reviewer ${workspace}`;
    this.id = "";
    this.name = "";
    this.#read();
    if (this.id === "") {
      this.id = Array.from(crypto.getRandomValues(new Uint8Array(4)), (byte) => byte.toString(16).padStart(2, "0")).join("");
      this.#write();
    }
    window.addEventListener("storage", (event) => {
      if (event.key !== this.place) return;
      this.#read();
      onOthersChange();
    });
  }

  /** What the person is called who gives no name. */
  get substitute() {
    return `reviewer ${this.id}`;
  }

  /** Who corrections are by: `browser` stays the same when the name changes. */
  get signature() {
    return { by: this.name || this.substitute, browser: this.id };
  }

  /** Returns whether the person has made a review, in this browser and under this name or without one. */
  has({ by, browser }) {
    return browser === this.id && [this.name, this.substitute].includes(by);
  }

  /** Returns whether a review is the person's, as `pagemill correct` sees it: of this browser, or of this name. */
  isOf({ by, browser }) {
    return browser === this.id || by === (this.name || this.substitute);
  }

  /** Takes another name; "" for none. */
  rename(name) {
    this.name = Array.from(name.trim().toWellFormed()).slice(0, MOST_CHARACTERS).join("");
    this.#write();
  }

  #read() {
    try {
      const { id, name } = JSON.parse(this.storage?.getItem(this.place) ?? "{}");
      if (/^[0-9a-f]{8}$/u.test(id)) [this.id, this.name] = [id, String(name ?? "")];
    } catch {
      // not ours: it is written anew
    }
  }

  #write() {
    try {
      this.storage?.setItem(this.place, JSON.stringify({ id: this.id, name: this.name }));
    } catch {
      // the browser keeps nothing: the name holds until the page is closed
    }
  }
}
