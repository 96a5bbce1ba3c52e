/** The list of pages: as long as the report, with elements for what is in view only. */

import { element } from "./dom.js";

/** Height of an option; the style has it, too. */
const ROW_PX = 68;
/** Options that are made beyond what is in view. */
const MARGIN_ROWS = 8;

/** A listbox with options that are made as they come into view. */
export class PageList {
  /**
   * @param {HTMLElement} list
   * @param {{fill: (option: HTMLElement, row: number) => void, open: (row: number) => void}} actions
   */
  constructor(list, { fill, open }) {
    this.list = list;
    this.fill = fill;
    this.open = open;
    this.order = new Int32Array(0);
    this.place = -1;
    this.options = new Map();
    this.space = element("div", "space");
    this.space.setAttribute("role", "presentation");
    list.append(this.space);
    list.addEventListener("scroll", () => this.#draw(), { passive: true });
    list.addEventListener("click", (event) => {
      const option = event.target.closest("[data-row]");
      if (option !== null) this.open(Number(option.dataset.row));
    });
    list.addEventListener("keydown", (event) => this.#press(event));
    new ResizeObserver(() => this.#draw()).observe(list);
  }

  /**
   * Shows these rows instead.
   * @param {Int32Array} order
   */
  show(order) {
    const row = this.order[this.place];
    this.order = order;
    this.place = row === undefined ? -1 : order.indexOf(row);
    this.space.style.height = `${order.length * ROW_PX}px`;
    this.list.scrollTop = Math.max(0, this.place * ROW_PX - this.list.clientHeight / 2);
    this.refresh();
  }

  /** Makes the options anew: what they say has changed. */
  refresh() {
    this.space.replaceChildren();
    this.options.clear();
    this.#draw();
  }

  /** Selects a row, and moves it into view, when it is in the list. */
  select(row) {
    this.place = this.order.indexOf(row);
    if (this.place >= 0) this.#reveal();
    for (const [at, option] of this.options) this.#mark(at, option);
    this.#draw();
  }

  /**
   * Opens the row some places further.
   * @returns {boolean} whether there is one
   */
  step(by) {
    const place = Math.max(0, Math.min(this.order.length - 1, this.place + by));
    if (this.order.length === 0 || place === this.place) return false;
    this.open(this.order[place]);
    return true;
  }

  #press(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(this.list.clientHeight / ROW_PX) - 1);
    const all = this.order.length;
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -all, End: all };
    if (!Object.hasOwn(steps, event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    this.step(steps[event.key]);
  }

  #reveal() {
    const [top, height] = [this.place * ROW_PX, this.list.clientHeight];
    if (top < this.list.scrollTop) this.list.scrollTop = top;
    else if (top + ROW_PX > this.list.scrollTop + height) this.list.scrollTop = top + ROW_PX - height;
  }

  #draw() {
    const first = Math.max(0, Math.floor(this.list.scrollTop / ROW_PX) - MARGIN_ROWS);
    const end = Math.min(
      this.order.length,
      Math.ceil((this.list.scrollTop + this.list.clientHeight) / ROW_PX) + MARGIN_ROWS,
    );
    for (const [at, option] of this.options) {
      if (at >= first && at < end) continue;
      option.remove();
      this.options.delete(at);
    }
    for (let at = first; at < end; at += 1) if (!this.options.has(at)) this.#add(at);
    const active = this.options.get(this.place);
    if (active === undefined) this.list.removeAttribute("aria-activedescendant");
    else this.list.setAttribute("aria-activedescendant", active.id);
  }

  #add(at) {
    const option = element("div", "option");
    option.id = `option-${at}`;
    option.dataset.row = this.order[at];
    option.style.top = `${at * ROW_PX}px`;
    option.setAttribute("role", "option");
    option.setAttribute("aria-setsize", this.order.length);
    option.setAttribute("aria-posinset", at + 1);
    this.#mark(at, option);
    this.fill(option, this.order[at]);
    this.options.set(at, option);
    this.space.append(option);
  }

  #mark(at, option) {
    option.setAttribute("aria-selected", String(at === this.place));
  }
}
