/** The corrections that the workspace does not have: how many, why not, and the way there. */

import { addressOf } from "./address.js";
import { keyOf } from "./corrections.js";
import { download, fileName, save } from "./delivery.js";
import { button, element } from "./dom.js";
import { visible } from "./names.js";
import { numbers } from "./rows.js";

/** Corrections in the list; the others come when these are gone. */
const MOST_LISTED = 50;

export const GONE = "the report has no such page any more";
export const OF_FORMER_CONTENT = "its file has another content now";

const SENTENCES = {
  saved: () => "Saved in the workspace.",
  waiting: (reason) => `Kept by the server: ${reason}.`,
  refused: (reason) => `Refused: ${reason}. It is kept in this browser.`,
  unreachable: (reason) => `Not saved: ${reason}. It is kept in this browser.`,
};

/** Sends corrections to the server of the report, one after another, and lists those that it does not have. */
export class Outbox {
  /**
   * @param {(id: string) => HTMLElement} find
   * @param {{corrections: object, rows: object, reviewer: object, isServed: boolean, say: (text: string) => void,
   * onChange: (correction: object) => void}} context `onChange` is told of one whose state has changed, or that was
   * discarded.
   */
  constructor(find, context) {
    this.find = find;
    this.context = context;
    /** By key, why a correction is of no page of the report. */
    this.obstacles = new Map();
    /** By key, when the correction was made that the server keeps, and why it waits. */
    this.waiting = new Map();
    this.sending = null;
    this.problem = "";
    this.held = 0;
    find("download").addEventListener("click", () => this.#download(this.ready()));
    find("download-held").addEventListener("click", () => this.#download(this.#held()));
    find("discard-held").addEventListener("click", () => this.#discardHeld());
  }

  /** Returns the corrections that can be applied, as far as is known. */
  ready() {
    return this.context.corrections.unsaved().filter((correction) => this.#obstacle(correction) === null);
  }

  /** Returns whether closing the page would lose a correction, or leave it unknown to all but this browser. */
  isUnsafe() {
    const isLost = !this.context.corrections.isKept && this.#held().some(({ isDownloaded }) => !isDownloaded);
    return isLost || this.#undelivered().length > 0;
  }

  /**
   * Sends the corrections that the server has not got, one after another; until it does not answer.
   * @param {boolean} isWaiting Whether the server keeps some for the end of a run. When it keeps none, those that are
   * not in the workspace are sent again: the answer says why not.
   */
  async send(isWaiting = true) {
    if (!isWaiting) this.waiting.clear();
    if (!this.context.isServed || this.sending !== null) return;
    const { corrections, reviewer, say, onChange } = this.context;
    const ends = { saved: 0, waiting: 0, refused: 0, unreachable: 0 };
    let [done, sentence] = [0, ""];
    this.problem = "";
    for (let next = this.#unsent(); next.length > 0 && ends.unreachable === 0; next = this.#unsent()) {
      const [correction] = next;
      const key = keyOf(correction);
      this.sending = key;
      this.show();
      say(done + next.length === 1 ? "Saving …" : `Saving ${done + 1} of ${done + next.length} …`);
      const answer = await save(correction, reviewer.signature);
      const [state, reason] = [answer.state, visible(answer.reason)]; // it may have another person's name
      done += 1;
      ends[state] += 1;
      sentence = SENTENCES[state](reason);
      if (state === "unreachable") this.problem = reason;
      if (corrections.get(key) === correction) this.#note(correction, key, state, reason);
      onChange(correction);
    }
    this.sending = null;
    this.show();
    if (done === 1) say(sentence);
    else if (done > 1) say([summary(ends), ends.unreachable > 0 ? sentence : ""].join(" ").trim());
  }

  /** Shows how many there are, and where each is. */
  show() {
    const { corrections, isServed } = this.context;
    const [ready, held] = [this.ready(), this.#held()];
    const left = this.#undelivered().length;
    this.find("corrections").hidden = !isServed && ready.length + held.length === 0;
    this.find("corrections-count").textContent = this.#count(ready.length, left);
    this.find("download").hidden = ready.length === 0;
    this.find("not-kept").hidden = corrections.isKept || !this.isUnsafe();
    this.find("unsaved").hidden = ready.length + held.length === 0;
    this.find("unsaved-summary").textContent =
      held.length === 0 ? "List them" : `${numbers.format(held.length)} cannot be applied`;
    if (held.length > this.held) this.find("unsaved").open = true; // the person has not seen why
    this.held = held.length;
    this.find("held-tools").hidden = held.length === 0;
    this.find("discard-held").hidden = held.length < 2;
    this.#list([...held, ...ready]);
  }

  #note(correction, key, state, reason) {
    const { corrections } = this.context;
    if (state === "waiting") this.waiting.set(key, { at: correction.at, reason });
    if (state === "saved") corrections.put({ ...correction, isSaved: true });
    if (state === "waiting") corrections.put({ ...correction, isDownloaded: true });
    if (state === "refused") corrections.put({ ...correction, refused: reason });
  }

  /** Returns why a correction cannot be applied; null when nothing is known against it. */
  #obstacle(correction) {
    return this.obstacles.get(keyOf(correction)) ?? correction.refused ?? null;
  }

  #held() {
    return this.context.corrections.unsaved().filter((correction) => this.#obstacle(correction) !== null);
  }

  #undelivered() {
    return this.ready().filter(({ isDownloaded }) => !isDownloaded);
  }

  #unsent() {
    return this.ready().filter((correction) => this.#waitingOf(correction) === null);
  }

  #waitingOf(correction) {
    const waiting = this.waiting.get(keyOf(correction));
    return waiting?.at === correction.at ? waiting : null;
  }

  #count(ready, left) {
    if (ready === 0) return this.context.isServed ? "Corrections are saved in the workspace at once." : "";
    const count = `${numbers.format(ready)} correction${ready === 1 ? "" : "s"}`;
    if (left > 0) return `${count}, ${numbers.format(left)} not downloaded`;
    const isWaiting = this.ready().every((correction) => this.#waitingOf(correction) !== null);
    return isWaiting ? `${count} kept by the server until the run ends` : `${count} in a file, not folded in yet`;
  }

  #list(all) {
    const list = this.find("unsaved-list");
    const focused = list.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    const items = all.slice(0, MOST_LISTED).map((correction) => this.#item(correction));
    const rest = all.length - items.length;
    if (rest > 0) items.push(element("li", "hint", `and ${numbers.format(rest)} more`));
    list.replaceChildren(...items);
    if (focused !== undefined) this.#focus(focused);
  }

  #item(correction) {
    const { source, source_b64: bytes, page } = correction;
    const name = `${visible(source)}, page ${page}`;
    const key = keyOf(correction);
    const title = element("bdi", "name", name);
    const hasPage = this.obstacles.get(key) !== GONE;
    const link = hasPage ? element("a", "", title) : title;
    if (hasPage) link.href = addressOf({ name: source, page, bytes: bytes ?? null });
    const parts = [link, element("span", "hint", `: ${this.#state(correction)} `)];
    if (this.#obstacle(correction) !== null) {
      const discard = button("Discard", () => this.#discard([correction], `The correction of ${name} was`), { className: "quiet", label: `Discard: ${name}` });
      discard.dataset.key = key;
      parts.push(discard);
    }
    return element("li", "", ...parts);
  }

  #state(correction) {
    const obstacle = this.#obstacle(correction);
    if (obstacle !== null) return correction.isDownloaded ? `${obstacle}; it is in a file` : obstacle;
    if (this.sending === keyOf(correction)) return "is being sent …";
    const waiting = this.#waitingOf(correction);
    if (waiting !== null) return `kept by the server: ${waiting.reason}`;
    if (this.problem !== "") return `not sent: ${this.problem}`;
    return correction.isDownloaded ? "in a file" : "in this browser only";
  }

  #discardHeld() {
    const held = this.#held();
    const question = `Discard ${held.length} corrections? They are nowhere else, unless you have downloaded them.`;
    if (window.confirm(question)) this.#discard(held, `${held.length} corrections were`);
  }

  #discard(some, subject) {
    const { corrections, say, onChange } = this.context;
    for (const correction of some) {
      this.obstacles.delete(keyOf(correction));
      corrections.remove(keyOf(correction));
      onChange(correction);
    }
    say(`${subject} discarded.`);
    this.#focus(null);
  }

  /** Moves the focus to the button of a correction; else to another one, or to what stays. */
  #focus(key) {
    const buttons = [...this.find("unsaved-list").querySelectorAll("[data-key]")];
    const target = buttons.find(({ dataset }) => dataset.key === key) ?? buttons[0];
    const unsaved = this.find("unsaved");
    (target ?? (unsaved.hidden ? this.find("reviewer") : this.find("unsaved-summary"))).focus();
  }

  #download(some) {
    const { corrections, reviewer, onChange } = this.context;
    download(some, reviewer.signature, fileName(new Date()));
    for (const correction of some) {
      corrections.put({ ...correction, isDownloaded: true });
      onChange(correction);
    }
  }
}

function summary({ saved, waiting, refused }) {
  const parts = { saved, "kept by the server": waiting, refused };
  const told = Object.entries(parts).filter(([, count]) => count > 0);
  return told.length === 0 ? "" : `Corrections: ${told.map(([what, count]) => `${numbers.format(count)} ${what}`).join(", ")}.`;
}
