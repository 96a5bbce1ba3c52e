/** The review report: the overview, and the pages beside their texts. */

import { addressOf, parseAddress } from "./address.js";
import { Corrections, findStorage, isOf, isSettled, keyOf } from "./corrections.js";
import { element } from "./dom.js";
import { listenToKeys } from "./keyboard.js";
import { Live } from "./live.js";
import { visible } from "./names.js";
import { tellReview } from "./notes.js";
import { GONE, OF_FORMER_CONTENT, Outbox } from "./outbox.js";
import { fillOption } from "./option.js";
import { PageList } from "./page_list.js";
import { PageView } from "./page_view.js";
import { Reviewer } from "./reviewer.js";
import { CHECKED, CORRECTED, FILTERS, ORDERS, Rows, numbers } from "./rows.js";
import { SearchIndex } from "./search.js";
import { Store } from "./store.js";

/** Pause after a key in the search field, before the search. */
const TYPING_MS = 120;

const find = (id) => document.getElementById(id);
const isServed = document.body.dataset.served === "yes";

const store = new Store(document.body.dataset.build);
const search = new SearchIndex();
/** Orders of all rows that were asked for, by name. */
const orders = new Map();
let rows = null;
let corrections = null;
let live = null;
let outbox = null;
let reviewer = null;
let isMissedTold = false;
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
  const storage = findStorage();
  reviewer = new Reviewer(storage, about.workspace, showReviewer);
  live = new Live(rows);
  corrections = new Corrections(storage, about.workspace, {
    onChange: () => outbox.show(),
    onOthersChange: () => void showChanges(),
  });
  outbox = new Outbox(find, { corrections, rows, reviewer, isServed, say, onChange: showState });
  const fill = (option, row) => fillOption(option, row, { rows, live, store, query: find("search").value.trim() });
  list = new PageList(find("list"), { fill, open: go });
  view = new PageView(find, { store, rows, corrections, live, reviewer, isServed, onChange: corrected, onMark: showFlags, go, say });
  if (isServed) addReviewed(await live.poll());
  await reconcile();
  offer(find("filter"), FILTERS, rows.counts());
  offer(find("order"), ORDERS, {});
  listen();
  showList();
  showReviewer();
  outbox.show();
  route();
  document.body.dataset.loaded = "pages";
  for (const [number, first] of texts.entries()) {
    search.add(first, await store.take("texts", number));
    find("search-state").textContent = `Texts loaded: ${number + 1} of ${texts.length} parts.`;
  }
  find("search-state").textContent = "";
  document.body.dataset.loaded = "texts";
  if (find("search").value !== "") showList();
  if (!isServed) return;
  live.follow(follow);
  await outbox.send();
}

/** Forgets the corrections that the workspace has by now, and shows the others of its contents. */
async function reconcile() {
  const obstacles = new Map();
  const found = [...corrections.all].map(([key, correction]) => [rows.find(correction), key]);
  found.sort(([a], [b]) => a - b); // neighbours are in one data file
  for (const [row, key] of found) {
    if (row < 0) {
      if (corrections.get(key)?.isSaved) corrections.remove(key);
      else obstacles.set(key, GONE);
      continue;
    }
    const [text, details] = await Promise.all([store.get("texts", row), store.get("details", row)]);
    const correction = corrections.get(key); // it may be another one by now
    if (correction === null) continue;
    const saved = live.over(row, text, details);
    if (!isOf(correction, saved.details)) {
      obstacles.set(key, OF_FORMER_CONTENT);
      continue;
    }
    const isChecked = (rows.savedFlagsOf(row) & CHECKED) !== 0;
    const isSame = (correction.text ?? saved.text) === saved.text && correction.checked === isChecked;
    if (isSettled(correction, saved.details, isSame, isServed)) corrections.remove(key);
    else overlay(row, correction, saved.text);
  }
  for (const row of [...rows.overlay.keys()]) if (corrections.get(rows.keyOf(row)) === null) rows.overlay.delete(row);
  outbox.obstacles = obstacles;
  outbox.show();
}

/** Shows what another tab, or another person, has done. */
async function showChanges() {
  await reconcile();
  showFlags();
}

/** Shows flags that have changed. */
function showFlags() {
  offer(find("filter"), FILTERS, rows.counts());
  list.refresh();
  view.refresh();
}

/** Lets the new texts of rows be found. */
function addReviewed(reviewed) {
  for (const row of reviewed) search.add(row, [live.reviews.get(row).text]);
  if (live.hasMissed && !isMissedTold) say("Others have corrected more pages than are shown here: reload the page, or build the report again.");
  isMissedTold = live.hasMissed;
}

/** Asks the server what was reviewed, and sends what it has not got. */
async function follow() {
  const reviewed = await live.poll();
  addReviewed(reviewed);
  if (reviewed.length > 0) await showChanges();
  const isOpen = reviewed.includes(view.row) && !reviewer.has(live.reviews.get(view.row));
  if (isOpen) say(tellReview(live.reviews.get(view.row), reviewer));
  if (live.isReachable) await outbox.send(live.isWaiting);
}

/** Lets a row show what a correction does to it. */
function overlay(row, correction, text) {
  if (correction === null) {
    rows.overlay.delete(row);
    return;
  }
  const wasCorrected = (rows.savedFlagsOf(row) & CORRECTED) !== 0;
  const isCorrected = correction.text === undefined ? wasCorrected : correction.text !== text;
  rows.overlay.set(row, rows.reviewedFlags(row, isCorrected, correction.checked));
}

/** Shows what was done to a row, and saves it where the report has a server. */
async function corrected(row) {
  const correction = corrections.get(rows.keyOf(row));
  overlay(row, correction, view.saved().text);
  offer(find("filter"), FILTERS, rows.counts());
  list.refresh();
  if (isServed && correction !== null) await outbox.send();
  else say(correction === null ? "" : "Kept in this browser. Download the corrections when you are done.");
}

/** Shows where a correction is by now, or that it was discarded. */
function showState(correction) {
  const row = rows.find(correction);
  if (row >= 0 && corrections.get(keyOf(correction)) === null && rows.overlay.delete(row)) {
    offer(find("filter"), FILTERS, rows.counts());
    list.refresh();
  }
  if (row >= 0 && row === view.row) view.refresh();
}

function showReviewer() {
  if (document.activeElement !== find("reviewer")) find("reviewer").value = reviewer.name;
  find("reviewer-hint").textContent =
    reviewer.name === "" ? `Without one, your corrections are by ${reviewer.substitute}.` : "";
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
  const row = rows.find({ source: key.name, source_b64: key.bytes ?? undefined, page: key.page });
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
  find("reviewer").addEventListener("change", () => {
    reviewer.rename(find("reviewer").value);
    find("reviewer").value = reviewer.name;
    showReviewer();
  });
  find("help-open").addEventListener("click", () => find("help").showModal());
  find("help-close").addEventListener("click", () => find("help").close());
  window.addEventListener("pagehide", () => view.save()); // a phone sends no beforeunload
  window.addEventListener("beforeunload", (event) => {
    view.save();
    if (outbox.isUnsafe()) event.preventDefault();
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
