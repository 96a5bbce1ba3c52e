/** The item that is shown: its picture, its text, and what is unsure in it. */

import { Lines, WEAK_CONFIDENCE, isWeak, turnOf } from "./lines.js";
import { counted, describeDoubt, linesOf } from "./sentences.js";
import { Viewer } from "./viewer.js";

/** Shows one item at a time. */
export class Result {
  /**
   * @param {(id: string) => HTMLElement} find
   */
  constructor(find) {
    this.find = find;
    this.viewer = new Viewer(find("viewer"));
    this.lines = new Lines(find("lines"), this.viewer.outlines, (word, isFocused) => this.#mark(word, isFocused));
    this.item = null;
    this.image = null;
    this.reply = null;
    this.imageUrl = "";
    this.downloadUrl = "";
    find("next-weak").addEventListener("click", () => this.lines.selectNextWeak());
  }

  /** The text that is shown; "" for none. */
  get text() {
    return this.reply?.content ?? "";
  }

  /**
   * Shows an item, or what is new of it.
   * @param {import("./queue.js").Item | null} item
   */
  show(item) {
    if (item !== this.item) this.#clear();
    this.item = item;
    this.find("result").hidden = item === null || item.image === null;
    if (item === null) return;
    this.find("result").setAttribute("aria-busy", String(item.state === "reading"));
    if (item.image !== this.image) void this.#showImage(item);
    if (item.reply !== this.reply) this.#showReply(item);
    this.find("transcript").hidden = this.reply === null;
  }

  #clear() {
    this.find("transcript").hidden = true;
    this.viewer.clear();
    this.lines.show([], "");
    this.image = null;
    this.reply = null;
    URL.revokeObjectURL(this.imageUrl);
    URL.revokeObjectURL(this.downloadUrl);
  }

  async #showImage(item) {
    URL.revokeObjectURL(this.imageUrl);
    this.image = item.image;
    this.imageUrl = URL.createObjectURL(item.image);
    this.find("caption").textContent = item.name;
    const size = await this.viewer.show(this.imageUrl, `The image ${item.name}`);
    if (item !== this.item || size === null) return; // the error response of the server says why it cannot be decoded
    this.find("caption").textContent = `${item.name}, ${size.width} × ${size.height} px`;
    if (this.reply !== null) this.#turn();
  }

  #showReply(item) {
    this.reply = item.reply;
    if (item.reply === null) return;
    const words = item.reply.ocrResult.words_info;
    const weak = words.filter(isWeak).length;
    this.lines.show(words, this.text);
    this.#turn();
    URL.revokeObjectURL(this.downloadUrl);
    this.downloadUrl = textUrl(`${this.text}\n`);
    this.find("download").href = this.downloadUrl;
    this.find("download").download = `${item.name.replace(/\.[^.]*?(?=$|, page \d+$)/, "")}.txt`;
    this.find("summary").textContent = describe(item.reply);
    this.find("no-text").hidden = words.length > 0;
    this.find("lines-hint").hidden = words.length === 0;
    this.find("weak").hidden = weak === 0;
    const parts = `${counted(weak, "part")} of the text ${weak === 1 ? "is" : "are"}`;
    this.find("weak-count").textContent =
      `${parts} less than ${WEAK_CONFIDENCE * 100} % sure: underlined with a wave, dashed in the picture.`;
  }

  /** Turns the picture as its text was turned to be read. */
  #turn() {
    this.viewer.turnTo(turnOf(this.reply.ocrResult.words_info));
  }

  #mark(word, isFocused) {
    const part = word?.parts > 1 ? `, part ${word.part} of ${word.parts}` : "";
    const caption = word ? `Line ${word.line}${part}, ${Math.round(word.confidence * 100)} % sure.` : "";
    this.find("line-caption").textContent = caption;
    this.viewer.enlarge(word?.location ?? null);
    if (isFocused) this.viewer.reveal(word.location);
  }
}

/**
 * Returns how much text there is, and why to doubt it.
 * @param {{content: string, warnings: string[]}} reply
 */
export function describe(reply) {
  return `${counted(linesOf(reply.content), "line")} of text.${describeDoubt(reply.warnings)}`;
}

/**
 * Returns the URL of a text; revoke it after use.
 * @param {string} text
 */
export function textUrl(text) {
  return URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
}
