/** The files that were chosen, and which of them are read at the moment. */

import { explain } from "./problems.js";

/** Files read at a time in the beginning, and at most: the server refuses beyond its own bound. */
const FIRST_LIMIT = 2;
const MAX_LIMIT = 4;

/**
 * A file, or a page of a PDF.
 * @typedef {object} Item
 * @property {string} name As it is shown.
 * @property {File | null} file null for a page of a PDF.
 * @property {{document: import("./reading.js").PdfDocument, page: number} | null} pdf
 * @property {"waiting" | "reading" | "asking" | "done" | "failed" | "cancelled"} state "asking" which pages of a PDF.
 * @property {Blob | null} image What is sent; null before it is known.
 * @property {string} mediaType
 * @property {object | null} reply
 * @property {import("./problems.js").Problem | null} problem
 */

/** Reads the items, some at a time; waits when the server says so, and stops when each item would fail. */
export class Queue {
  /**
   * @param {(item: Item, signal: AbortSignal) => Promise<Item[] | null>} read Reads an item; returns the items that
   * take its place, if any.
   * @param {{onItem: (item: Item) => void, onItems: (gone?: Item, instead?: Item) => void, onState: () => void}}
   * events Called when an item, the list of items, or what the queue does has changed.
   */
  constructor(read, events) {
    this.read = read;
    this.events = events;
    /** @type {Item[]} */
    this.items = [];
    /** @type {import("./problems.js").Problem | null} Why the queue does not go on. */
    this.obstacle = null;
    /** Until when it waits, in milliseconds of `Date.now()`; null when it does not go on by itself. */
    this.waitsUntil = null;
    this.controllers = new Map();
    this.limit = FIRST_LIMIT;
    this.successes = 0;
    this.timer = null;
  }

  /** Returns the items in these states. */
  in(...states) {
    return this.items.filter((item) => states.includes(item.state));
  }

  /** Whether something is read or will be. */
  get isActive() {
    return this.in("waiting", "reading").length > 0;
  }

  add(items) {
    this.items.push(...items);
    this.events.onItems();
    this.#fill();
  }

  /** Puts items in the place of one: the pages in the place of their PDF. */
  replace(item, items) {
    const at = this.items.indexOf(item);
    if (at < 0) return;
    this.items.splice(at, 1, ...items);
    this.events.onItems(item, items[0]);
    this.#fill();
  }

  /** Reads an item again. */
  retry(item) {
    if (!["failed", "cancelled"].includes(item.state)) return;
    this.#set(item, "waiting");
    this.#fill();
  }

  cancel(item) {
    if (!["waiting", "reading"].includes(item.state)) return;
    this.#set(item, "cancelled");
    this.controllers.get(item)?.abort();
    if (!this.isActive) this.#clearObstacle();
    this.events.onState();
  }

  remove(item) {
    this.cancel(item);
    this.items = this.items.filter((other) => other !== item);
    this.events.onItems();
  }

  clear() {
    for (const item of this.in("waiting", "reading")) this.cancel(item);
    this.items = [];
    this.#clearObstacle();
    this.events.onItems();
    this.events.onState();
  }

  /** Goes on after an obstacle. */
  resume() {
    this.#clearObstacle();
    this.#fill();
  }

  #fill() {
    while (this.obstacle === null && this.controllers.size < this.limit) {
      const item = this.items.find(({ state }) => state === "waiting");
      if (item === undefined) break;
      void this.#run(item);
    }
    this.events.onState();
  }

  async #run(item) {
    const controller = new AbortController();
    this.controllers.set(item, controller);
    this.#set(item, "reading");
    try {
      const items = await this.read(item, controller.signal);
      if (controller.signal.aborted) return;
      if (items !== null) this.replace(item, items);
      else if (item.state === "reading") this.#set(item, "done");
      this.#speedUp();
    } catch (error) {
      if (!controller.signal.aborted) this.#fail(item, explain(error, item.name));
    } finally {
      if (this.controllers.get(item) === controller) this.controllers.delete(item); // it may be read again already
      this.#fill();
    }
  }

  #fail(item, problem) {
    if (!problem.pauses) {
      this.#set(item, "failed", problem);
      return;
    }
    this.#set(item, "waiting");
    if (this.obstacle !== null && this.waitsUntil === null) return; // stopped already, for a reason that needs the user
    this.#clearObstacle();
    this.obstacle = problem;
    if (problem.waitS > 0) {
      this.limit = 1;
      this.successes = 0;
      this.waitsUntil = Date.now() + 1000 * problem.waitS;
      this.timer = setTimeout(() => this.resume(), 1000 * problem.waitS);
    }
  }

  #speedUp() {
    this.successes += 1;
    if (this.successes >= this.limit && this.limit < MAX_LIMIT) {
      this.limit += 1;
      this.successes = 0;
    }
  }

  #clearObstacle() {
    clearTimeout(this.timer);
    this.obstacle = null;
    this.waitsUntil = null;
  }

  #set(item, state, problem = null) {
    item.state = state;
    item.problem = problem;
    this.events.onItem(item);
  }
}
