/** A page in the list: its name, what is known of it, and where it has what was searched. */

import { element } from "./dom.js";
import { visible } from "./names.js";
import { labelsOf, measuresOf } from "./notes.js";
import { excerpt } from "./search.js";

/** Characters of a long text that an excerpt is looked for in. */
const MOST_EXCERPTED = 2_000_000;

/**
 * Fills the option of a row.
 * @param {HTMLElement} option
 * @param {number} row
 * @param {{rows: object, live: object, store: object, query: string}} context
 */
export function fillOption(option, row, { rows, live, store, query }) {
  const facts = [rows.isPaged(row) ? [`page ${rows.pages[row]}`] : [], measuresOf(rows, row)].flat().join(" · ");
  const labels = labelsOf(rows, row).map((label) => element("span", `label ${label.replace(" ", "-")}`, label));
  const name = element("bdi", "name", visible(rows.names[row]));
  const second = element("span", "facts", facts);
  option.append(name, second, element("span", "labels", ...labels));
  if (rows.thumbnails.has(row)) option.prepend(thumbnail(rows.thumbnails.get(row)));
  if (query !== "") {
    const text = live.reviews.get(row)?.text ?? store.get("texts", row).catch(() => "");
    void addExcerpt(option, text, query);
  }
}

function thumbnail(url) {
  const image = element("img", "thumbnail");
  image.alt = "";
  image.src = url;
  return image;
}

async function addExcerpt(option, loading, query) {
  const text = await loading;
  const found = excerpt(text.slice(0, MOST_EXCERPTED), query);
  if (found === null || !option.isConnected) return;
  const [before, match, after] = found;
  const line = element("span", "excerpt", before, element("mark", "", match), after);
  line.dir = "auto";
  option.querySelector(".facts").replaceWith(line);
}
