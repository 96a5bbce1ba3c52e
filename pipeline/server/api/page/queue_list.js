/** The list of files: the state of each, and what can be done with it. */

import { button, element } from "./dom.js";
import { isWeak } from "./lines.js";
import { parsePages } from "./reading.js";
import { counted, linesOf } from "./sentences.js";

const STATES = { waiting: "waiting", reading: "reading …", asking: "which pages?", cancelled: "cancelled" };

/** Shows the items, one of which is selected. */
export class QueueList {
  /**
   * @param {HTMLElement} list
   * @param {object} actions
   * @param {(item: object) => void} actions.select
   * @param {(item: object) => void} actions.retry
   * @param {(item: object) => void} actions.cancel
   * @param {(item: object) => void} actions.remove
   * @param {(item: object, pages: number[]) => void} actions.readPages
   * @param {() => number} actions.callsLeft How many pages can still be read this month.
   */
  constructor(list, actions) {
    this.list = list;
    this.actions = actions;
    this.rows = new Map();
    this.selected = null;
  }

  /** Shows these items instead of the previous ones; those that stay keep the focus. */
  show(items) {
    const rows = new Map(items.map((item) => [item, this.rows.get(item) ?? this.#row(item)]));
    const focused = this.list.contains(document.activeElement) ? document.activeElement.closest("li") : null;
    const at = [...this.list.children].indexOf(focused);
    for (const [item, row] of this.rows) if (!rows.has(item)) row.remove();
    for (const [index, row] of [...rows.values()].entries()) {
      if (this.list.children[index] !== row) this.list.insertBefore(row, this.list.children[index] ?? null);
    }
    this.rows = rows;
    if (focused === null || focused.isConnected) return;
    this.list.children[Math.min(at, items.length - 1)]?.querySelector("button").focus();
  }

  /** Shows the state of an item. */
  update(item) {
    const row = this.rows.get(item);
    if (row === undefined) return;
    const hadFocus = row.querySelector(".row-tools").contains(document.activeElement);
    this.#fill(row, item);
    if (hadFocus) row.querySelector(".row-tools button").focus();
  }

  /**
   * Marks an item as the one that is shown.
   * @param {object | null} item
   */
  select(item) {
    const changed = [this.selected, item];
    this.selected = item;
    for (const each of changed) {
      this.rows.get(each)?.querySelector(".item").setAttribute("aria-current", String(each === item));
    }
  }

  #row(item) {
    const name = element("span", "name", item.name);
    name.dir = "auto";
    const choice = button("", () => this.actions.select(item), { className: "item" });
    choice.append(name, " ", element("span", "state"));
    choice.setAttribute("aria-current", String(item === this.selected));
    const row = element("li", "", choice, element("span", "row-tools"));
    if (item.state === "asking") row.append(this.#question(item));
    this.#fill(row, item);
    return row;
  }

  #fill(row, item) {
    row.dataset.state = item.state;
    row.querySelector(".state").textContent = stateOf(item);
    row.querySelector(".row-tools").replaceChildren(...this.#tools(item));
  }

  #tools(item) {
    const tool = (text, action) =>
      button(text, () => action(item), { className: "quiet", label: `${text}: ${item.name}` });
    switch (item.state) {
      case "waiting":
      case "reading":
        return [tool("Cancel", this.actions.cancel)];
      case "cancelled":
        return [tool("Retry", this.actions.retry), tool("Remove", this.actions.remove)];
      case "failed":
        return item.problem.ways.includes("retry")
          ? [tool("Retry", this.actions.retry), tool("Remove", this.actions.remove)]
          : [tool("Remove", this.actions.remove)];
      default:
        return [tool("Remove", this.actions.remove)];
    }
  }

  /** Returns the form that asks which pages of a PDF to read. */
  #question(item) {
    const { pages } = item.pdf.document;
    const left = this.actions.callsLeft();
    const cost = left < pages ? `each a call; ${counted(left, "call")} left` : "each a call";
    const field = element("input", "");
    field.value = `1-${Math.max(1, Math.min(pages, left))}`;
    field.autocomplete = "off";
    field.spellcheck = false;
    const fault = element("span", "fault");
    fault.setAttribute("role", "alert");
    const label = element("label", "", `Pages to read of ${pages}, ${cost}: `, field);
    const submit = element("button", "", "Read these pages");
    submit.type = "submit";
    const form = element("form", "pages", label, submit, fault);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const chosen = parsePages(field.value, pages);
      if (chosen !== null) {
        this.actions.readPages(item, chosen);
        return;
      }
      fault.textContent = `Write numbers from 1 to ${pages}, such as 1-3, 7.`;
      field.focus();
    });
    return form;
  }
}

/** Returns the state of an item in a few words. */
function stateOf(item) {
  if (item.state === "failed") return `failed: ${item.problem.text}`;
  if (item.state !== "done") return STATES[item.state];
  const weak = item.reply.ocrResult.words_info.filter(isWeak).length;
  const doubts = [...(weak > 0 ? [`${weak} unsure`] : []), ...(item.reply.warnings.length > 0 ? ["in doubt"] : [])];
  return [counted(linesOf(item.reply.content), "line"), ...doubts].join(", ");
}
