/** Search in names and texts, whatever the case. */

const BREAK = "\u0000";
/** Stands for the character that separates texts. */
const REPLACEMENT = "\ufffd";

/**
 * Returns a text in lower case, with every character where it was.
 * @param {string} text
 */
export function fold(text) {
  const lower = text.toLowerCase();
  if (lower.length === text.length) return lower;
  return Array.from(text, (character) => {
    const small = character.toLowerCase();
    return small.length === character.length ? small : character;
  }).join("");
}

/** Returns a text that no search takes for the end of one. */
function withoutBreaks(text) {
  return text.includes(BREAK) ? text.replaceAll(BREAK, REPLACEMENT) : text;
}

/** Texts of consecutive rows, as one string: a search is a few calls of `indexOf`. */
class Part {
  constructor(first, texts) {
    this.first = first;
    this.ends = new Int32Array(texts.length);
    const folded = texts.map((text) => fold(withoutBreaks(text)));
    let end = 0;
    for (const [at, text] of folded.entries()) {
      end += text.length + BREAK.length;
      this.ends[at] = end;
    }
    this.text = [...folded, ""].join(BREAK); // flat, as concatenation would not be before the first search
  }

  /** Calls `found` with each row that has the text. */
  search(query, found) {
    let [at, row] = [this.text.indexOf(query), 0];
    while (at >= 0) {
      while (this.ends[row] <= at) row += 1;
      found(this.first + row);
      at = this.text.indexOf(query, this.ends[row]);
    }
  }
}

/** What is searched. */
export class SearchIndex {
  constructor() {
    this.parts = [];
  }

  /**
   * Adds names or texts.
   * @param {number} first The first one's row.
   * @param {string[]} texts
   */
  add(first, texts) {
    this.parts.push(new Part(first, texts));
  }

  /**
   * Returns which rows have a text in one of their names and texts.
   * @param {string} text
   * @param {number} count Number of rows.
   * @returns {Uint8Array} 1 for those
   */
  search(text, count) {
    const hits = new Uint8Array(count);
    const query = fold(withoutBreaks(text));
    for (const part of this.parts) part.search(query, (row) => (hits[row] = 1));
    return hits;
  }
}

/**
 * Returns a line around the first place where a text has another one; null where it has not.
 * @param {string} text
 * @param {string} query
 * @returns {[string, string, string] | null} before, match, after
 */
export function excerpt(text, query, before = 24, after = 80) {
  const at = fold(text).indexOf(fold(query));
  if (query === "" || at < 0) return null;
  const end = at + query.length;
  const oneLine = (part) => part.replace(/\s+/gu, " ");
  const start = Math.max(0, at - before);
  return [
    (start > 0 ? "…" : "") + oneLine(text.slice(start, at)),
    text.slice(at, end),
    oneLine(text.slice(end, end + after)),
  ];
}
