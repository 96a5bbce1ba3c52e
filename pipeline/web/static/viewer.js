/** A picture with zoom, pan and quarter turns, outlines over it, and the line that is marked enlarged below it. */

import { SVG, button, element } from "./dom.js";
import { corners, distance, inside, intoView, middle, rotate } from "./geometry.js";
import { Loupe } from "./loupe.js";

/** Largest scale, in CSS pixels per pixel of the picture. */
const MAX_SCALE = 8;
/** A small picture is enlarged up to this scale to fit. */
const MAX_FIT_SCALE = 2;
const ZOOM_STEP = 1.5;
/** Zoom per pixel of a wheel's movement with Ctrl, which is what a trackpad's pinch sends. */
const WHEEL_ZOOM = 0.0025;
const WHEEL_LINE_PX = 16;
const PAN_STEP_PX = 60;
/** A pointer that moves less than this is a click. */
const DRAG_PX = 4;
/** Free space around a line that is moved into view. */
const MARGIN_PX = 16;

const PANS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/** Shows one picture at a time. Lines and words give their places as `location`: x and y of four corners, in pixels. */
export class Viewer {
  /**
   * @param {HTMLElement} frame An empty element, which gets the picture, its buttons and the enlarged line.
   */
  constructor(frame) {
    frame.classList.add("viewer");
    this.image = document.createElement("img");
    this.outlines = document.createElementNS(SVG, "svg");
    this.outlines.setAttribute("aria-hidden", "true");
    this.outlines.setAttribute("preserveAspectRatio", "none");
    this.outlines.classList.add("outlines");
    this.sheet = element("div", "sheet", this.image, this.outlines);
    this.stage = element("div", "stage", this.sheet);
    this.stage.tabIndex = 0;
    this.stage.setAttribute("role", "group");
    this.stage.setAttribute("aria-label", "Picture: + and − zoom, arrow keys move, 0 fits, R turns");
    this.percent = element("span", "percent");
    this.loupe = new Loupe();
    frame.append(this.stage, this.loupe.element, this.#makeTools());
    this.pointers = new Map();
    this.clear();
    this.#listen();
  }

  /** Removes the picture. */
  clear() {
    this.size = null;
    this.quarters = 0;
    this.scale = 1;
    this.centre = [0, 0];
    this.isFitted = true;
    this.location = null;
    this.pointers.clear();
    this.image.removeAttribute("src");
    this.image.alt = "";
    this.stage.style.aspectRatio = "";
    this.loupe.clear();
  }

  /**
   * Shows a picture, fitted into the frame, which must be visible. Browsers turn pictures of another origin by their
   * EXIF orientation, whatever the style says, and under `file://` all are: such pictures must have none.
   * @param {string} url
   * @param {string} alt
   * @param {number} quarters Clockwise quarter turns.
   * @returns {Promise<{width: number, height: number} | null>} the size in pixels as stored, to which locations refer:
   * EXIF orientation is not applied. null for a picture that cannot be decoded, or when another was shown meanwhile.
   */
  async show(url, alt, quarters = 0) {
    this.clear();
    this.image.alt = alt;
    this.image.src = url;
    await this.image.decode().catch(() => undefined);
    if (this.image.getAttribute("src") !== url) return null;
    const size = this.#measure();
    if (size === null) return null;
    this.loupe.setPicture(url);
    this.size = size;
    this.outlines.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
    this.turnTo(quarters);
    return size;
  }

  /**
   * Turns the picture and fits it.
   * @param {number} quarters Clockwise quarter turns from the picture as stored.
   */
  turnTo(quarters) {
    this.quarters = ((quarters % 4) + 4) % 4;
    if (this.size === null) return;
    const [width, height] = this.#shownSize();
    this.stage.style.aspectRatio = `${width} / ${height}`;
    this.fit();
    this.enlarge(this.location);
  }

  /** Shows the whole picture. */
  fit() {
    this.isFitted = true;
    this.scale = this.#fitScale();
    this.#place();
  }

  /**
   * Zooms around a point, by default the middle.
   * @param {number} factor
   * @param {number[]} point x and y in the stage
   */
  zoomBy(factor, point = [this.stage.clientWidth / 2, this.stage.clientHeight / 2]) {
    if (this.size === null) return;
    const fitScale = this.#fitScale();
    const scale = Math.max(fitScale, Math.min(Math.max(MAX_SCALE, fitScale), this.scale * factor));
    this.centre = this.centre.map((at, axis) => point[axis] + ((at - point[axis]) * scale) / this.scale);
    this.scale = scale;
    this.isFitted = scale <= fitScale;
    this.#place();
  }

  /**
   * Moves the picture.
   * @returns {boolean} whether it moved: it stays inside the frame.
   */
  panBy(dx, dy) {
    const [x, y] = this.centre;
    this.centre = [x + dx, y + dy];
    this.#place();
    return this.centre[0] !== x || this.centre[1] !== y;
  }

  /**
   * Moves a line into view, when the picture is zoomed.
   * @param {number[]} location
   */
  reveal(location) {
    if (this.size === null || this.isFitted) return;
    const points = corners(location).map((point) => this.#toStage(point));
    const stage = [this.stage.clientWidth, this.stage.clientHeight];
    const moves = stage.map((length, axis) => {
      const along = points.map((point) => point[axis]);
      return intoView(Math.min(...along), Math.max(...along), length, MARGIN_PX);
    });
    this.panBy(...moves);
  }

  /**
   * Shows a line enlarged and level below the picture, or nothing where that would not enlarge it.
   * @param {number[] | null} location
   */
  enlarge(location) {
    this.location = location;
    if (this.size !== null) this.loupe.show(location, this);
  }

  /** Returns the size before EXIF orientation and at scale 1; null when the picture cannot be decoded. */
  #measure() {
    if (this.image.naturalWidth === 0) return null;
    this.sheet.classList.add("measured");
    const size = { width: this.image.offsetWidth, height: this.image.offsetHeight };
    this.sheet.classList.remove("measured");
    return size.width > 0 && size.height > 0 ? size : null;
  }

  /** Returns width and height of the turned picture at scale 1. */
  #shownSize() {
    const { width, height } = this.size;
    return this.quarters % 2 === 0 ? [width, height] : [height, width];
  }

  #fitScale() {
    if (this.size === null) return 1;
    const [width, height] = this.#shownSize();
    return Math.min(this.stage.clientWidth / width, this.stage.clientHeight / height, MAX_FIT_SCALE);
  }

  #toStage([x, y]) {
    const fromCentre = [(x - this.size.width / 2) * this.scale, (y - this.size.height / 2) * this.scale];
    return rotate(fromCentre, this.quarters * (Math.PI / 2)).map((value, axis) => value + this.centre[axis]);
  }

  #place() {
    if (this.size === null) return;
    const stage = [this.stage.clientWidth, this.stage.clientHeight];
    const lengths = this.#shownSize().map((length) => length * this.scale);
    this.centre = lengths.map((length, axis) => inside(this.centre[axis], length, stage[axis]));
    const width = this.size.width * this.scale;
    const height = this.size.height * this.scale;
    const { style } = this.sheet;
    style.width = `${width}px`;
    style.height = `${height}px`;
    const [x, y] = [this.centre[0] - width / 2, this.centre[1] - height / 2];
    style.transform = `translate(${x}px, ${y}px) rotate(${this.quarters * 90}deg)`;
    this.stage.classList.toggle("zoomed", !this.isFitted);
    this.percent.textContent = `${Math.round(this.scale * 100)} %`;
  }

  #makeTools() {
    const tools = element(
      "div",
      "tools",
      button("−", () => this.zoomBy(1 / ZOOM_STEP), { label: "Zoom out" }),
      this.percent,
      button("+", () => this.zoomBy(ZOOM_STEP), { label: "Zoom in" }),
      button("Fit", () => this.fit(), { label: "Fit the picture" }),
      button("Turn", () => this.turnTo(this.quarters + 1), { label: "Turn the picture clockwise" }),
    );
    tools.setAttribute("role", "group");
    tools.setAttribute("aria-label", "View");
    return tools;
  }

  #listen() {
    const { stage } = this;
    stage.addEventListener("keydown", (event) => this.#press(event));
    stage.addEventListener("wheel", (event) => this.#roll(event), { passive: false });
    stage.addEventListener("dblclick", (event) => {
      if (this.isFitted) this.zoomBy(ZOOM_STEP ** 2, this.#pointOf(event));
      else this.fit();
    });
    stage.addEventListener("pointerdown", (event) => this.#hold(event));
    stage.addEventListener("pointermove", (event) => this.#drag(event));
    for (const end of ["pointerup", "pointercancel"]) {
      stage.addEventListener(end, (event) => this.#release(event));
    }
    stage.addEventListener("dragstart", (event) => event.preventDefault());
    new ResizeObserver(() => {
      if (this.isFitted) this.fit();
      else this.#place();
    }).observe(stage);
  }

  #press(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const actions = {
      "+": () => this.zoomBy(ZOOM_STEP),
      "=": () => this.zoomBy(ZOOM_STEP),
      "-": () => this.zoomBy(1 / ZOOM_STEP),
      0: () => this.fit(),
      r: () => this.turnTo(this.quarters + 1),
      R: () => this.turnTo(this.quarters - 1),
    };
    const pan = this.isFitted ? undefined : PANS[event.key];
    if (pan !== undefined) this.panBy(pan[0] * PAN_STEP_PX, pan[1] * PAN_STEP_PX);
    else if (Object.hasOwn(actions, event.key)) actions[event.key]();
    else return;
    event.preventDefault();
  }

  /** Zooms with Ctrl; else moves a zoomed picture, and lets the page scroll where the picture cannot move. */
  #roll(event) {
    const unit = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? WHEEL_LINE_PX : 1;
    const [dx, dy] = event.shiftKey ? [event.deltaY, event.deltaX] : [event.deltaX, event.deltaY];
    if (event.ctrlKey || event.metaKey) {
      this.zoomBy(Math.exp(-event.deltaY * unit * WHEEL_ZOOM), this.#pointOf(event));
      event.preventDefault();
    } else if (!this.isFitted && this.panBy(-dx * unit, -dy * unit)) {
      event.preventDefault();
    }
  }

  #hold(event) {
    if (event.button !== 0) return;
    this.pointers.set(event.pointerId, this.#pointOf(event));
    this.travelled = 0;
  }

  /** Moves the picture with one pointer, zooms it with two. */
  #drag(event) {
    const before = this.pointers.get(event.pointerId);
    if (before === undefined) return;
    const now = this.#pointOf(event);
    this.travelled += distance(before, now);
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId);
    if (this.travelled < DRAG_PX && others.length === 0) return;
    this.stage.setPointerCapture(event.pointerId); // not before: a captured click does not reach the outlines
    this.stage.classList.add("dragged");
    this.pointers.set(event.pointerId, now);
    if (others.length > 0) {
      const other = others[0][1];
      this.zoomBy(distance(other, now) / Math.max(1, distance(other, before)), middle(other, now));
    }
    const share = others.length > 0 ? 2 : 1;
    this.panBy((now[0] - before[0]) / share, (now[1] - before[1]) / share);
  }

  #release(event) {
    this.pointers.delete(event.pointerId);
    if (this.pointers.size === 0) this.stage.classList.remove("dragged");
  }

  #pointOf(event) {
    const { left, top } = this.stage.getBoundingClientRect();
    return [event.clientX - left - this.stage.clientLeft, event.clientY - top - this.stage.clientTop];
  }
}
