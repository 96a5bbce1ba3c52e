/** One page: its picture and its text, side by side. */

import { element } from "./dom.js";
import { Lines, languageOf, turnOf } from "./lines.js";
import { visible } from "./names.js";
import { Viewer } from "./viewer.js";

/** Characters of a long text that are shown at first: a browser takes seconds for millions. */
const MOST_SHOWN = 200_000;

const UNSHOWN =
  "The report has no picture of this page. These commands have: pagemill report OUT --images convert, and" +
  " pagemill report OUT --serve.";

const UNLIKE = "Its picture is not shown: the file has changed since it was read.";
const UNREADABLE = "The picture cannot be shown: the file is gone, or no image that browsers know.";

const OUTDATED =
  "Its picture is not shown: the report was built again. Reload the page; if that does not help, start the server again.";

/** What the report's server answers for a picture that would be another one, and to a page of another build. */
const CONFLICT = 409;
const OTHER_BUILD = 410;

/**
 * Returns the lines of a page in the pixels of its picture.
 * @param {any[][]} lines [text, confidence or null, x1, y1, … y4]
 * @param {number[]} size Width and height to which they refer.
 * @param {{width: number, height: number}} shown Of the picture.
 */
export function scaledWords(lines, size, shown) {
  const scales = [shown.width / size[0], shown.height / size[1]];
  return lines.map(([text, confidence, ...corners]) => ({
    text,
    confidence: confidence ?? undefined,
    location: corners.map((at, index) => at * scales[index % 2]),
  }));
}

/**
 * Returns whether lines have all of a text, so that they can stand for it.
 * @param {any[][]} lines
 * @param {string} text
 */
export function areWhole(lines, text) {
  const bare = (part) => part.replace(/\s+/gu, "");
  return bare(lines.map((line) => line[0]).join("")) === bare(text);
}

/** Shows a page. */
export class Reader {
  /**
   * @param {(id: string) => HTMLElement} find
   * @param {boolean} isServed Whether the report's own server shows it, which has all pictures.
   */
  constructor(find, isServed) {
    this.find = find;
    this.isServed = isServed;
    this.viewer = new Viewer(find("viewer"));
    this.lines = new Lines(find("lines"), this.viewer.outlines, (word, isFocused) => this.#mark(word, isFocused));
    this.shown = null;
    this.words = [];
  }

  /** Removes what is shown. */
  clear() {
    this.shown = null;
    this.words = [];
    this.viewer.clear();
    this.lines.show([], "");
    this.find("text").replaceChildren();
  }

  /**
   * Shows a page.
   * @param {{row: number, name: string, text: string, now: string, details: object}} page `text` as the report has it,
   * `now` as it was corrected in this browser.
   * @returns {Promise<boolean | null>} whether the file has changed since it was read, as the report's server finds now;
   * null when it was not asked.
   */
  async show(page) {
    const isSame = this.shown?.row === page.row;
    let hasChanged = null;
    this.shown = page;
    if (!isSame) {
      this.find("viewer").hidden = true;
      this.viewer.clear();
      this.words = [];
      this.showText();
      hasChanged = await this.#showPicture(page);
    }
    if (this.shown === page) this.showText();
    return hasChanged;
  }

  /** Shows the text, as lines where their places are known. */
  showText() {
    const { text, now, details } = this.shown;
    const hasLines = now === text && this.words.length > 0;
    this.lines.show(this.words, text);
    this.find("lines").hidden = !hasLines;
    const isWhole = hasLines && areWhole(details.lines, text);
    this.find("text").hidden = isWhole;
    this.find("lines-heading").hidden = !hasLines || isWhole;
    this.#write(now, isWhole ? 0 : MOST_SHOWN);
  }

  #write(text, most) {
    const box = this.find("text");
    box.lang = languageOf(text.slice(0, 1000));
    box.classList.toggle("empty", text === "");
    box.textContent = text === "" ? "No text." : text.slice(0, most).toWellFormed();
    if (text.length <= most || most === 0) return;
    const all = element("button", "", `Show all ${text.length.toLocaleString("en")} characters`);
    all.type = "button";
    all.addEventListener("click", () => (box.textContent = text));
    box.append("…\n", all);
  }

  async #showPicture(page) {
    const { picture, lines, size, pictureNote } = page.details;
    const [kind, url] = picture;
    // a picture that the report has is of the content that was read
    const isAsked = this.isServed && kind !== "none" && url?.startsWith("pictures/") !== true;
    const address = isAsked ? `pictures/${page.row}?build=${document.body.dataset.build}` : url;
    this.#say(pictureNote ?? (address === null ? UNSHOWN : "Loading the picture …"));
    if (address === null) return null;
    this.find("viewer").hidden = false;
    const shown = await this.viewer.show(address, `Page ${visible(page.name)}`);
    if (this.shown !== page) return null;
    this.find("viewer").hidden = shown === null;
    const status = isAsked && shown === null ? await statusOf(address) : null;
    const hasChanged = status === CONFLICT;
    if (this.shown !== page) return null;
    this.#say(shown === null ? ({ [CONFLICT]: UNLIKE, [OTHER_BUILD]: OUTDATED }[status] ?? UNREADABLE) : "");
    if (shown !== null && lines !== undefined) {
      this.words = scaledWords(lines, size, shown);
      this.viewer.turnTo(turnOf(this.words));
    }
    return isAsked && (hasChanged || shown !== null) ? hasChanged : null;
  }

  #say(text) {
    this.find("picture-note").textContent = text;
  }

  #mark(word, isFocused) {
    this.viewer.enlarge(word?.location ?? null);
    if (word !== null && isFocused) this.viewer.reveal(word.location);
  }
}

async function statusOf(address) {
  const answer = await fetch(address).catch(() => null);
  return answer?.status ?? null;
}
