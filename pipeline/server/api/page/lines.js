/** The lines of text and their outlines in the picture; pointing at one marks both. */

const SVG = "http://www.w3.org/2000/svg";

const STEPS = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };

/**
 * Returns the language of a line, for screen readers and fonts.
 * @param {string} text
 */
export function languageOf(text) {
  return /\p{Script=Han}/u.test(text) ? "zh" : "en";
}

/** The list of lines and the outlines over the picture, with the same line marked in both. */
export class Lines {
  /**
   * @param {HTMLElement} list
   * @param {SVGElement} outlines
   * @param {(word: object | null, index: number) => void} onMark called with the line that is marked, or null.
   */
  constructor(list, outlines, onMark) {
    this.list = list;
    this.outlines = outlines;
    this.onMark = onMark;
    this.words = [];
    this.focused = null;
    list.addEventListener("keydown", (event) => this.#step(event));
    list.addEventListener("focusin", (event) => this.#focus(this.#indexOf(event.target)));
    list.addEventListener("focusout", () => this.#focus(null));
    for (const side of [list, outlines]) {
      side.addEventListener("pointerover", (event) => this.#mark(this.#indexOf(event.target) ?? this.focused));
      side.addEventListener("pointerleave", () => this.#mark(this.focused));
    }
    outlines.addEventListener("click", (event) => this.#select(this.#indexOf(event.target)));
  }

  /**
   * Shows these lines instead of the previous ones.
   * @param {{text: string, confidence: number, location: number[]}[]} words
   */
  show(words) {
    this.words = words;
    this.focused = null;
    this.list.replaceChildren(...words.map(item));
    this.outlines.replaceChildren(...words.map(outline));
    this.list.hidden = words.length === 0;
    this.onMark(null, -1);
  }

  /**
   * Sets the image size that the coordinates of the outlines refer to.
   * @param {number} widthPx
   * @param {number} heightPx
   */
  setSize(widthPx, heightPx) {
    this.outlines.setAttribute("viewBox", `0 0 ${widthPx} ${heightPx}`);
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
    this.#select(Math.max(0, Math.min(last, next)));
  }

  #select(index) {
    if (index !== null) this.list.children[index].focus();
  }

  #focus(index) {
    this.focused = index;
    if (index !== null) {
      for (const [i, line] of [...this.list.children].entries()) {
        line.tabIndex = i === index ? 0 : -1;
        line.setAttribute("aria-selected", String(i === index));
      }
    }
    this.#mark(index);
  }

  #mark(index) {
    for (const side of [this.list, this.outlines]) {
      for (const [i, child] of [...side.children].entries()) child.classList.toggle("marked", i === index);
    }
    this.onMark(index === null ? null : this.words[index], index ?? -1);
  }
}

function item(word, index) {
  const line = document.createElement("li");
  line.textContent = word.text;
  line.lang = languageOf(word.text);
  line.dir = "auto";
  line.dataset.line = index;
  line.tabIndex = index === 0 ? 0 : -1;
  line.setAttribute("role", "option");
  line.setAttribute("aria-selected", "false");
  return line;
}

function outline(word, index) {
  const polygon = document.createElementNS(SVG, "polygon");
  polygon.setAttribute("points", word.location.join(" "));
  polygon.dataset.line = index;
  return polygon;
}
