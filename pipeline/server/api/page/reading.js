/** From a file to its text: checked, split into pages where it is a PDF, and sent. */

import { closePdf, fetchPdfPage, openPdf, recognise } from "./api.js";
import { PDF, checkFile, toDataUrl } from "./image.js";
import { visible } from "./names.js";

/** A PDF that the server renders; it forgets the document after a while, and then gets it again. */
export class PdfDocument {
  /**
   * @param {File} file
   * @param {{id: string, pages: number}} opened
   */
  constructor(file, opened) {
    this.file = file;
    this.id = opened.id;
    this.pages = opened.pages;
    this.opening = null;
  }

  /**
   * Returns a page as an image.
   * @param {number} page 1-based
   * @param {AbortSignal} signal
   */
  async render(page, signal) {
    const { id } = this;
    try {
      return await fetchPdfPage(id, page, signal);
    } catch (error) {
      if (error.status !== 404) throw error;
      await this.#openAgain(id);
      return await fetchPdfPage(this.id, page, signal);
    }
  }

  /** Lets the server forget the document. */
  close() {
    void closePdf(this.id);
  }

  /** Sends the document again, once for all pages that miss it. */
  async #openAgain(missing) {
    if (this.id !== missing) return;
    const signal = new AbortController().signal; // not a page's: others wait for it, too
    this.opening ??= openPdf(this.file, signal).finally(() => {
      this.opening = null;
    });
    this.id = (await this.opening).id;
  }
}

/**
 * Returns the item of a file.
 * @param {File} file
 */
export function itemOf(file) {
  return { ...NEW_ITEM, name: visible(file.name), file };
}

/**
 * Returns the items of some pages of a PDF.
 * @param {PdfDocument} document
 * @param {number[]} pages 1-based
 */
export function itemsOf(document, pages) {
  const name = visible(document.file.name);
  return pages.map((page) => ({
    ...NEW_ITEM,
    name: document.pages === 1 ? name : `${name}, page ${page}`,
    pdf: { document, page },
  }));
}

const NEW_ITEM = { file: null, pdf: null, state: "waiting", image: null, mediaType: "", reply: null, problem: null };

/**
 * Reads an item: a call that is counted. A PDF is opened instead, which is not.
 * @param {import("./queue.js").Item} item
 * @param {AbortSignal} signal
 * @param {() => void} onImage Called when the item has its image.
 * @returns {Promise<import("./queue.js").Item[] | null>} the items that take its place, or null.
 */
export async function readItem(item, signal, onImage) {
  if (item.image === null && item.pdf === null) {
    item.mediaType = await checkFile(item.file);
    if (item.mediaType === PDF) return await openDocument(item, signal);
    item.image = item.file;
    onImage();
  } else if (item.image === null) {
    item.image = await item.pdf.document.render(item.pdf.page, signal);
    item.mediaType = item.image.type;
    onImage();
  }
  const dataUrl = await toDataUrl(item.image, item.mediaType);
  if (signal.aborted) return null;
  item.reply = await recognise(dataUrl, item.name, signal);
  return null;
}

/** Returns the page of a PDF that has one; asks which to read of one that has several, because each is a call. */
async function openDocument(item, signal) {
  const document = new PdfDocument(item.file, await openPdf(item.file, signal));
  if (signal.aborted) {
    document.close();
    return null;
  }
  if (document.pages === 1) return itemsOf(document, [1]);
  return [{ ...item, state: "asking", pdf: { document, page: 0 } }];
}

/**
 * Returns the numbers in a list of pages such as "1-3, 7", in its order and each once; null for anything else.
 * @param {string} text
 * @param {number} pages The last page.
 */
export function parsePages(text, pages) {
  const found = new Set();
  for (const part of text.split(/[,;，、]/)) {
    const range = /^\s*(\d{1,6})\s*(?:[-–—]\s*(\d{1,6})?)?\s*$/.exec(part);
    if (range === null) return null;
    const first = Number(range[1]);
    let last = first;
    if (/[-–—]/.test(part)) last = range[2] === undefined ? pages : Number(range[2]);
    if (first < 1 || last < first || last > pages) return null;
    for (let page = first; page <= last; page += 1) found.add(page);
  }
  return [...found];
}
