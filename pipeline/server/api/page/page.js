/** The page for trying the API: files, their texts, and the outlines of the lines. */

import { Account } from "./account.js";
import { copyText } from "./clipboard.js";
import { curlCommand } from "./command.js";
import { button } from "./dom.js";
import { Queue } from "./queue.js";
import { QueueList } from "./queue_list.js";
import { itemOf, itemsOf, readItem } from "./reading.js";
import { Result, describe, textUrl } from "./result.js";
import { counted } from "./sentences.js";

const find = (id) => document.getElementById(id);

/** What the user was told last, until something else happens: {id: "error" or "status", text}; null for none. */
let notice = null;
/** @type {import("./queue.js").Item | null} */
let selected = null;
/** @type {import("./queue.js").Item | null} The failed item in whose place the next file is chosen. */
let replaced = null;
/** The obstacle for which the page has done what it can. */
let shownObstacle = null;

const account = new Account(find, {
  onError: (text) => notify("error", text),
  onSignedIn: () => {
    notify("status", "Signed in.");
    if (queue.obstacle !== null) queue.resume();
    else find("choose").focus();
  },
  onSignedOut: () => {
    clear();
    notify("status", "Signed out.");
  },
});
const result = new Result(find);
const queue = new Queue((item, signal) => readItem(item, signal, () => showItem(item)), {
  onItem: showItem,
  onItems: showItems,
  onState: showState,
});
const list = new QueueList(find("queue-list"), {
  select,
  retry: (item) => queue.retry(item),
  cancel: (item) => {
    queue.cancel(item);
    notify("status", `Cancelled: ${item.name}. A page that is being read counts as a call.`);
  },
  remove: (item) => queue.remove(item),
  callsLeft: () => account.callsLeft,
  readPages: (item, pages) => {
    queue.replace(item, itemsOf(item.pdf.document, pages));
  },
});

function choose(files) {
  if (files.length === 0) {
    notify("error", "This is not a file. Save the image, then choose the file.");
    return;
  }
  const items = [...files].map(itemOf);
  notice = null;
  if (replaced?.state === "failed") queue.remove(replaced);
  replaced = null;
  queue.add(items);
  select(items[0]);
}

function select(item) {
  selected = item;
  list.select(item);
  result.show(item);
  showCommand(item);
  showState();
}

function showItem(item) {
  if (queue.obstacle === null && item.state !== "cancelled") notice = null;
  list.update(item);
  if (item === selected) {
    result.show(item);
    showCommand(item);
  }
  if (item.state === "done" || item.state === "failed") {
    closeFinishedPdf(item);
    if (find("sign-in").hidden) void account.refresh();
  }
}

/** Shows the list of items; where the selected one is gone, the one in its place is selected. */
function showItems(gone = null, instead = null) {
  list.show(queue.items);
  if (!queue.items.includes(selected)) select(gone !== null && gone === selected ? instead : (queue.items[0] ?? null));
  showState();
}

/** Lets the server forget a PDF of which nothing is left to read. */
function closeFinishedPdf({ pdf }) {
  const isLeft = (item) => item.pdf?.document === pdf?.document && item.state !== "done";
  if (pdf && !queue.items.some(isLeft)) pdf.document.close();
}

/** Shows the messages and the buttons that fit what the queue does. */
function showState() {
  const { items, isActive, obstacle } = queue;
  const isAsking = items.some(({ state }) => state === "asking");
  const problem = obstacle ?? selected?.problem ?? null;
  const done = queue.in("done");
  document.body.classList.toggle("busy", selected?.state === "reading");
  find("queue").hidden = items.length < 2 && !isAsking;
  find("cancel").hidden = !isActive;
  find("retry-all").hidden = queue.in("failed", "cancelled").length === 0;
  for (const id of ["copy-all", "download-all"]) find(id).hidden = done.length < 2;
  find("summary").hidden = items.length < 2;
  setText("error", notice?.id === "error" ? notice.text : (problem?.text ?? ""));
  setText("status", notice?.id === "status" ? notice.text : progress());
  showWays(notice?.id === "error" ? null : problem);
  if (obstacle !== shownObstacle && obstacle?.ways[0] === "sign-in") account.askForKey();
  shownObstacle = obstacle;
}

/** Sets a text where it differs: a screen reader would say it again. */
function setText(id, text) {
  if (find(id).textContent !== text) find(id).textContent = text;
}

/** Returns what the queue does, in a sentence. */
function progress() {
  const { items } = queue;
  const [reading, done, failed] = ["reading", "done", "failed"].map((state) => queue.in(state).length);
  if (items.length === 0 || queue.obstacle !== null) return "";
  if (items.length === 1) {
    const [item] = items;
    if (item.state === "done") return describe(item.reply);
    if (item.state === "asking") return `${item.name} has ${item.pdf.document.pages} pages. Choose which to read.`;
    return item.state === "reading" ? `Reading ${item.name} …` : "";
  }
  const failures = failed > 0 ? `; ${failed} failed` : "";
  if (reading > 0) return `Reading ${reading}; ${done} of ${items.length} done${failures}.`;
  return `${done} of ${items.length} done${failures}.`;
}

/** Shows a button for each thing that can be done about a problem. */
function showWays(problem) {
  const actions = { retry, choose: chooseInstead, "sign-in": () => account.askForKey() };
  const again = queue.waitsUntil === null ? "Try again" : "Go on now";
  const names = { retry: again, choose: "Choose another file", "sign-in": "Sign in" };
  const wanted = problem?.ways ?? (selected?.state === "cancelled" ? ["retry"] : []);
  const ways = wanted.filter((way) => way !== "sign-in" || find("sign-in").hidden);
  const key = ways.map((way) => names[way]).join();
  const box = find("ways");
  if (box.dataset.ways !== key) {
    const hadFocus = box.contains(document.activeElement);
    box.replaceChildren(...ways.map((way) => button(names[way], () => actions[way]())));
    box.dataset.ways = key;
    if (hadFocus) (box.querySelector("button") ?? find("choose")).focus();
  }
  showCountdown();
}

function chooseInstead() {
  replaced = selected;
  find("file").click();
}

function retry() {
  notice = null;
  if (queue.obstacle !== null) queue.resume();
  else queue.retry(selected);
}

function showCountdown() {
  const leftS = queue.waitsUntil === null ? 0 : Math.ceil((queue.waitsUntil - Date.now()) / 1000);
  find("countdown").textContent = leftS > 0 ? `${leftS} s` : "";
}

function notify(id, text) {
  notice = { id, text };
  showState();
}

function showCommand(item) {
  // a name that could deceive is not shown as a command to run
  const isImage = item?.mediaType.startsWith("image/") && item.file !== null && item.file.name === item.name;
  const [name, mediaType] = isImage ? [item.name, item.mediaType] : ["page.png", "image/png"];
  setText("command", curlCommand(location.origin, name, mediaType));
}

function clear() {
  for (const document of new Set(queue.items.map(({ pdf }) => pdf?.document))) document?.close();
  notice = null;
  queue.clear();
}

async function copy(content, what) {
  try {
    await copyText(content);
    notify("status", `${what} copied.`);
  } catch {
    notify("error", "The browser does not let this page copy. Select the text and copy it.");
  }
}

/** Returns the texts of all files that were read, each below its name. */
function allTexts() {
  return queue
    .in("done")
    .map(({ name, reply }) => `=== ${name} ===\n${reply.content}\n`)
    .join("\n");
}

function downloadAll() {
  const link = document.createElement("a");
  link.href = textUrl(allTexts());
  link.download = "texts.txt";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function listen() {
  const file = find("file");
  find("choose").addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    if (file.files.length > 0) choose(file.files);
    file.value = ""; // else choosing the same file again fires no event
  });
  file.addEventListener("cancel", () => {
    replaced = null;
  });
  find("cancel").addEventListener("click", () => {
    const active = queue.in("waiting", "reading");
    for (const item of active) queue.cancel(item);
    notify("status", `Cancelled: ${counted(active.length, "file")}. A page that is being read counts as a call.`);
    find("choose").focus();
  });
  find("retry-all").addEventListener("click", () => {
    notice = null;
    for (const item of queue.in("failed", "cancelled")) queue.retry(item);
  });
  find("clear").addEventListener("click", () => {
    clear();
    find("choose").focus();
  });
  find("copy").addEventListener("click", () => copy(result.text, "Text"));
  find("copy-all").addEventListener("click", () => copy(allTexts(), counted(queue.in("done").length, "text")));
  find("download-all").addEventListener("click", downloadAll);
  find("copy-command").addEventListener("click", () => copy(find("command").textContent, "Command"));
  setInterval(showCountdown, 1000);
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length > 0) choose(event.clipboardData.files);
  });
  listenToDrops();
}

function listenToDrops() {
  const mark = (isOver) => document.body.classList.toggle("dropping", isOver);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(true);
  });
  document.addEventListener("dragleave", (event) => mark(event.relatedTarget !== null));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    choose(event.dataTransfer.files);
  });
}

showCommand(null);
listen();
account.refresh();
