/** A line of the picture, level and enlarged. */

import { element } from "./dom.js";
import { corners, levelView } from "./geometry.js";

/** Free space beside the line, and its share above and below. */
const LOUPE_MARGIN_PX = 16;
const LOUPE_MARGIN = 1.25;
const MAX_LOUPE_SCALE = 3;

/** A strip that shows one line. */
export class Loupe {
  constructor() {
    this.image = document.createElement("img");
    this.image.alt = "";
    this.element = element("div", "loupe", this.image);
    this.element.setAttribute("aria-hidden", "true");
  }

  /** Removes the picture. */
  clear() {
    this.image.removeAttribute("src");
    this.element.classList.remove("shown");
  }

  /**
   * Sets the picture.
   * @param {string} url
   */
  setPicture(url) {
    this.image.src = url;
  }

  /**
   * Shows a line, or nothing where that would not enlarge it.
   * @param {number[] | null} location Of the line; null for none.
   * @param {{size: {width: number, height: number}, quarters: number, scale: number}} picture Its size in pixels, its
   * clockwise quarter turns, and the scale at which it is shown beside.
   */
  show(location, { size, quarters, scale }) {
    const { clientWidth, clientHeight } = this.element;
    const frame = [clientWidth - 2 * LOUPE_MARGIN_PX, clientHeight / LOUPE_MARGIN];
    const view = location === null ? null : levelView(corners(location), quarters, frame, MAX_LOUPE_SCALE);
    const isLarger = view !== null && view.scale > scale;
    this.element.classList.toggle("shown", isLarger);
    if (!isLarger) return;
    const [x, y] = [clientWidth / 2 - view.middle[0], clientHeight / 2 - view.middle[1]];
    const { style } = this.image;
    style.width = `${size.width * view.scale}px`;
    style.height = `${size.height * view.scale}px`;
    style.transform = `translate(${x}px, ${y}px) rotate(${view.angle}rad)`;
  }
}
