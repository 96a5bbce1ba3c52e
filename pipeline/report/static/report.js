/** The review report: the overview, and the pages beside their texts. */

import { addressOf, parseAddress } from "./address.js";
import { Corrections, findStorage, isOf, isSettled, keyOf } from "./corrections.js";
import { download, fileName, save } from "./delivery.js";
import { element } from "./dom.js";
import { listenToKeys } from "./keyboard.js";
import { visible } from "./names.js";
import { PageList } from "./page_list.js";
import { PageView, labelsOf, measuresOf } from "./page_view.js";
import { CHECKED, CORRECTED, FILTERS, IN_DOUBT, ORDERS, Rows, numbers } from "./rows.js";
import { SearchIndex, excerpt } from "./search.js";
import { Store } from "./store.js";

/** Pause after a key in the search field, before the search. */
const TYPING_MS = 120;
/** Characters of a long text that an excerpt is looked for in. */
const MOST_EXCERPTED = 2_000_000;

const find = (id) => document.getElementById(id);
const isServed = document.body.dataset.served === "yes";

const store = new Store(document.body.dataset.build);
const search = new SearchIndex();
/** Orders of all rows that were asked for, by name. */
const orders = new Map();
let rows = null;
let corrections = null;
let list = null;
let view = null;

function say(text) {
  find("message").textContent = text;
}

/** Loads the columns, then, in the background, the texts to search. */
async function load() {
  const about = await store.open();
  rows = new Rows(about.count);
  const { pages, texts } = about.begins;
  const parts = await Promise.all(pages.map((_, number) => store.take("pages", number)));
  for (const [number, entries] of parts.entries()) {
    rows.fill(pages[number], entries);
    search.add(
      pages[number],
      entries.map(([name]) => name),
    );
  }
  rows.group();
  corrections = new Corrections(findStorage(), about.workspace, { onChange: showCorrections, onOthersChange: followOthers });
  list = new PageList(find("list"), { fill: fillOption, open: go });
  view = new PageView(find, { store, rows, corrections, isServed, onChange: corrected, go, say });
  await reconcile();
  offer(find("filter"), FILTERS, rows.counts());
  offer(find("order"), ORDERS, {});
  listen();
  showList();
  showCorrections();
  route();
  document.body.dataset.loaded = "pages";
  for (const [number, first] of texts.entries()) {
    search.add(first, await store.take("texts", number));
    find("search-state").textContent = `Texts loaded: ${number + 1} of ${texts.length} parts.`;
  }
  find("search-state").textContent = "";
  document.body.dataset.loaded = "texts";
  if (find("search").value !== "") showList();
}

/** Forgets the corrections that the report has by now, and shows the others of its contents. */
async function reconcile() {
  const found = [...corrections.all.values()].map((correction) => {
    return [rows.find(correction.source, correction.page, correction.source_b64 ?? null), correction];
  });
  found.sort(([a], [b]) => a - b); // neighbours are in one data file
  for (const [row, correction] of found) {
    if (row < 0) continue;
    const [text, details] = await Promise.all([store.get("texts", row), store.get("details", row)]);
    if (!isOf(correction, details)) continue;
    const isSame = (correction.text ?? text) === text && correction.checked === ((rows.flags[row] & CHECKED) !== 0);
    if (isSettled(correction, details, isSame)) corrections.remove(keyOf(correction));
    else overlay(row, correction, text);
  }
}

/** Shows what another tab has done. */
async function followOthers() {
  rows.overlay.clear();
  await reconcile();
  offer(find("filter"), FILTERS, rows.counts());
  list.refresh();
  view.refresh();
}

/** Lets a row show what a correction does to it. */
function overlay(row, correction, text) {
  if (correction === null) {
    rows.overlay.delete(row);
    return;
  }
  const isCorrected = correction.text === undefined ? rows.flags[row] & CORRECTED : correction.text !== text;
  const flags = (correction.checked ? CHECKED : 0) | (isCorrected ? CORRECTED : 0);
  rows.overlay.set(row, flags | (flags === 0 ? rows.flags[row] & IN_DOUBT : 0));
}

/** Shows what was done to a row, and saves it where the report has a server. */
async function corrected(row) {
  const key = keyOf({ source: rows.names[row], source_b64: rows.bytes.get(row), page: rows.pages[row] });
  const correction = corrections.get(key);
  overlay(row, correction, view.page.text);
  offer(find("filter"), FILTERS, rows.counts());
  list.refresh();
  if (!isServed || correction === null) {
    say(correction === null ? "" : "Kept in this browser. Download the corrections when you are done.");
    return;
  }
  say("Saving …");
  const { state, reason } = await save(correction);
  if (corrections.get(key) === correction) {
    if (state === "saved") corrections.put({ ...correction, isSaved: true });
    if (state === "waiting") corrections.put({ ...correction, isDownloaded: true });
  }
  const sentences = { saved: "Saved in the workspace.", waiting: `Kept by the server: ${reason}.` };
  say(sentences[state] ?? `Not saved: ${reason}. It is kept in this browser.`);
  view.refresh();
}

/** Shows how many corrections there are, and whether they are safe. */
function showCorrections() {
  const unsaved = corrections.unsaved().length;
  find("corrections").hidden = unsaved === 0;
  const count = `${numbers.format(unsaved)} correction${unsaved === 1 ? "" : "s"}`;
  const left = corrections.undelivered().length;
  find("corrections-count").textContent =
    left === 0 ? `${count} in a file, not folded in yet` : `${count}, ${numbers.format(left)} not downloaded`;
  find("not-kept").hidden = corrections.isKept || left === 0;
}

function offer(select, choices, counts) {
  const { value } = select;
  const options = Object.entries(choices).map(([name, [label]]) => {
    const count = counts[name] === undefined ? "" : ` (${numbers.format(counts[name])})`;
    const option = element("option", "", `${label}${count}`);
    option.value = name;
    return option;
  });
  select.replaceChildren(...options);
  if (value !== "") select.value = value;
}

/** Shows the rows that are asked for, in their order. */
function showList() {
  const [order, filter, query] = [find("order").value, find("filter").value, find("search").value.trim()];
  if (!orders.has(order)) orders.set(order, rows.sorted(order));
  const [shows, start] = [FILTERS[filter][1], performance.now()];
  const hits = query === "" ? null : search.search(query, rows.count);
  const wanted = orders.get(order).filter((row) => shows(rows, row) && (hits === null || hits[row] === 1));
  list.show(wanted);
  performance.measure("pagemill list", { start });
  const pages = `${numbers.format(wanted.length)} page${wanted.length === 1 ? "" : "s"}`;
  find("found").textContent = wanted.length === rows.count ? pages : `${pages} of ${numbers.format(rows.count)}`;
}

function fillOption(option, row) {
  const facts = [rows.isPaged(row) ? [`page ${rows.pages[row]}`] : [], measuresOf(rows, row)].flat().join(" · ");
  const labels = labelsOf(rows, row).map((label) => element("span", `label ${label.replace(" ", "-")}`, label));
  const name = element("bdi", "name", visible(rows.names[row]));
  const second = element("span", "facts", facts);
  option.append(name, second, element("span", "labels", ...labels));
  if (rows.thumbnails.has(row)) option.prepend(thumbnail(rows.thumbnails.get(row)));
  const query = find("search").value.trim();
  if (query !== "") void addExcerpt(option, row, query);
}

function thumbnail(url) {
  const image = element("img", "thumbnail");
  image.alt = "";
  image.src = url;
  return image;
}

async function addExcerpt(option, row, query) {
  const text = await store.get("texts", row).catch(() => "");
  const found = excerpt(text.slice(0, MOST_EXCERPTED), query);
  if (found === null || !option.isConnected) return;
  const [before, match, after] = found;
  const line = element("span", "excerpt", before, element("mark", "", match), after);
  line.dir = "auto";
  option.querySelector(".facts").replaceWith(line);
}

/** Goes to a row: its address is noted, and opened by `route`. */
function go(row) {
  const address = addressOf({
    name: rows.names[row],
    page: rows.pages[row],
    bytes: rows.bytes.get(row) ?? null,
  });
  if (address === location.hash) void open(row);
  else location.hash = address;
}

async function open(row) {
  find("pages").dataset.pane = "page";
  find("page").hidden = false;
  find("no-page").hidden = true;
  list.select(row);
  if (view.row !== row) await view.open(row);
}

/** Shows what the address says. */
function route() {
  const { view: name, key } = parseAddress(location.hash);
  for (const each of ["overview", "pages"]) {
    find(each).hidden = each !== name;
    const link = find(`to-${each}`);
    if (each === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.body.classList.toggle("wide", name === "pages");
  if (name !== "pages" || rows === null) return;
  if (key === null) {
    find("pages").dataset.pane = "list";
    return;
  }
  const row = rows.find(key.name, key.page, key.bytes);
  if (row >= 0) void open(row);
  else say(`The report has no page ${key.page} of ${visible(key.name)}.`);
}

function listen() {
  let timer = 0;
  for (const name of ["input", "compositionend"]) {
    find("search").addEventListener(name, (event) => {
      if (event.isComposing) return; // letters that an input method will turn into others
      clearTimeout(timer);
      timer = setTimeout(showList, TYPING_MS);
    });
  }
  find("finder").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["filter", "order"]) find(id).addEventListener("change", showList);
  find("download").addEventListener("click", () => {
    view.save();
    download(corrections.unsaved(), fileName(new Date()));
    corrections.markDownloaded();
    view.refresh();
  });
  find("help-open").addEventListener("click", () => find("help").showModal());
  find("help-close").addEventListener("click", () => find("help").close());
  window.addEventListener("pagehide", () => view.save()); // a phone sends no beforeunload
  window.addEventListener("beforeunload", (event) => {
    view.save();
    if (corrections.undelivered().length > 0) event.preventDefault();
  });
  const actions = {
    j: () => inPages(() => list.step(1)),
    k: () => inPages(() => list.step(-1)),
    ArrowDown: () => inPages(() => list.step(1)),
    ArrowUp: () => inPages(() => list.step(-1)),
    ArrowRight: () => inPages(() => view.turn(1)),
    ArrowLeft: () => inPages(() => view.turn(-1)),
    "/": () => {
      if (find("pages").hidden) location.hash = "pages";
      find("pages").hidden = false;
      find("search").focus();
    },
    e: () => inPages(() => view.edit()),
    c: () => inPages(() => view.toggleChecked()),
    n: () => inPages(() => view.reader.lines.selectNextWeak()),
    "?": () => find("help").showModal(),
  };
  listenToKeys(actions, ["/", "e", "c", "?"]);
}

function inPages(act) {
  if (!find("pages").hidden) act();
}

window.addEventListener("hashchange", route);
route();
// after the overview is painted
requestAnimationFrame(() => setTimeout(() => load().catch((error) => say(error.message))));
