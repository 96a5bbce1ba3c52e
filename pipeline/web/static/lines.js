/** The lines of text and their outlines in the picture; pointing at one marks both. */

import { SVG } from "./dom.js";

/** Lines of a lower confidence are marked. Readings below it are wrong more often than right on forms. */
export const WEAK_CONFIDENCE = 0.9;

const STEPS = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };

/**
 * Returns the language of a line, for screen readers and fonts.
 * @param {string} text
 */
export function languageOf(text) {
  return /\p{Script=Han}/u.test(text) ? "zh" : "en";
}

/**
 * Returns the words in the rows of the text: words beside one another, such as the cells of a table, are one row.
 * @param {{text: string}[]} words in the order of the text
 * @param {string} text
 * @returns {{gap: string, index: number}[][]} for each row, its words and what stands before each of them
 */
export function rowsOf(words, text) {
  const rows = [];
  let at = 0;
  for (const [index, word] of words.entries()) {
    const found = text.indexOf(word.text, at);
    const gap = found < 0 ? "\n" : text.slice(at, found);
    if (found >= 0) at = found + word.text.length;
    if (rows.length === 0 || gap.includes("\n")) rows.push([{ gap: "", index }]);
    else rows.at(-1).push({ gap, index });
  }
  return rows;
}

/**
 * Returns the clockwise quarter turns that make most of the text upright: a line is read from its first corner to its
 * second.
 * @param {{text: string, location: number[]}[]} words
 */
export function turnOf(words) {
  const characters = [0, 0, 0, 0];
  for (const { text, location: at } of words) {
    const angle = Math.atan2(at[3] + at[5] - at[1] - at[7], at[2] + at[4] - at[0] - at[6]);
    characters[(4 - Math.round(angle / (Math.PI / 2))) % 4] += text.length;
  }
  return characters.indexOf(Math.max(...characters));
}

/**
 * Returns whether a line should be looked at.
 * @param {{confidence?: number}} word
 */
export function isWeak(word) {
  return word.confidence < WEAK_CONFIDENCE;
}

/** The list of lines and the outlines over the picture, with the same line marked in both. */
export class Lines {
  /**
   * @param {HTMLElement} list
   * @param {SVGElement} outlines
   * @param {(word: object | null, isFocused: boolean) => void} onMark called with the line that is marked and its
   * place, or null; and whether it has the focus, or is pointed at.
   */
  constructor(list, outlines, onMark) {
    this.list = list;
    this.outlines = outlines;
    this.onMark = onMark;
    this.words = [];
    this.items = [];
    this.places = [];
    this.focused = null;
    this.marked = null;
    list.addEventListener("keydown", (event) => this.#step(event));
    list.addEventListener("focusin", (event) => this.#focus(this.#indexOf(event.target)));
    list.addEventListener("focusout", () => this.#focus(null));
    for (const side of [list, outlines]) {
      side.addEventListener("pointerover", (event) => this.#mark(this.#indexOf(event.target) ?? this.focused));
      side.addEventListener("pointerleave", () => this.#mark(this.focused));
    }
    outlines.addEventListener("click", (event) => this.select(this.#indexOf(event.target)));
  }

  /**
   * Shows these lines instead of the previous ones, in the rows of the text.
   * @param {{text: string, confidence?: number, location: number[]}[]} words
   * @param {string} text
   */
  show(words, text) {
    const rows = rowsOf(words, text);
    this.words = words;
    this.focused = null;
    this.marked = null;
    this.places = rows.flatMap((row, i) => row.map((_, part) => ({ line: i + 1, part: part + 1, parts: row.length })));
    this.list.replaceChildren(...rows.map((row) => rowItem(row, words)));
    this.items = [...this.list.querySelectorAll("[data-line]")];
    this.outlines.replaceChildren(...words.map(outline));
    this.list.hidden = words.length === 0;
    this.onMark(null, false);
  }

  /**
   * Gives a line the focus.
   * @param {number | null} index 0-based; null for none.
   */
  select(index) {
    if (index !== null) this.items[index].focus();
  }

  /** Gives the next weak line the focus, after the last one the first. */
  selectNextWeak() {
    const weak = [...this.words.keys()].filter((index) => isWeak(this.words[index]));
    const current = this.items.findIndex((line) => line.getAttribute("aria-selected") === "true");
    this.select(weak.find((index) => index > current) ?? weak[0] ?? null);
  }

  #indexOf(target) {
    const index = target.closest?.("[data-line]")?.dataset.line;
    return index === undefined ? null : Number(index);
  }

  #step(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || this.focused === null) return;
    const last = this.words.length - 1;
    const ends = { Home: 0, End: last };
    const next = ends[event.key] ?? this.focused + (STEPS[event.key] ?? NaN);
    if (Number.isNaN(next)) return;
    event.preventDefault();
    this.select(Math.max(0, Math.min(last, next)));
  }

  #focus(index) {
    this.focused = index;
    if (index !== null) {
      const selected = this.list.querySelector('[aria-selected="true"]') ?? this.items[0];
      selected.tabIndex = -1;
      selected.setAttribute("aria-selected", "false");
      this.items[index].tabIndex = 0;
      this.items[index].setAttribute("aria-selected", "true");
    }
    this.#mark(index);
  }

  #mark(index) {
    if (this.marked !== null) this.#toggle(this.marked, false);
    this.marked = index;
    if (index !== null) this.#toggle(index, true);
    const word = index === null ? null : { ...this.words[index], ...this.places[index] };
    this.onMark(word, index !== null && index === this.focused);
  }

  #toggle(index, isMarked) {
    for (const mark of [this.items[index], this.outlines.children[index]]) mark.classList.toggle("marked", isMarked);
  }
}

/** Returns a row: its only word, or an element that holds its words with what stands between them. */
function rowItem(row, words) {
  if (row.length === 1) return item("li", words[row[0].index], row[0].index);
  const line = document.createElement("li");
  line.setAttribute("role", "presentation");
  line.className = "row";
  line.append(...row.flatMap(({ gap, index }) => [gap, item("span", words[index], index)]));
  return line;
}

function item(tag, word, index) {
  const line = document.createElement(tag);
  line.textContent = word.text;
  line.lang = languageOf(word.text);
  line.dir = "auto";
  line.dataset.line = index;
  line.tabIndex = index === 0 ? 0 : -1;
  line.setAttribute("role", "option");
  line.setAttribute("aria-selected", "false");
  if (isWeak(word)) {
    line.classList.add("weak");
    line.setAttribute("aria-description", "unsure");
  }
  return line;
}

function outline(word, index) {
  const polygon = document.createElementNS(SVG, "polygon");
  polygon.setAttribute("points", word.location.join(" "));
  polygon.dataset.line = index;
  polygon.classList.toggle("weak", isWeak(word));
  return polygon;
}
