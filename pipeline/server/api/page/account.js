/** Signing in and out, and the usage of the month. */

import { fetchUsage, signIn, signOut } from "./api.js";
import { explain } from "./problems.js";
import { describeUsage, duration } from "./sentences.js";

/** Shows the usage in the page header, or the sign-in form. */
export class Account {
  /**
   * @param {(id: string) => HTMLElement} find
   * @param {{onError: (text: string) => void, onSignedIn: () => void, onSignedOut: () => void}} events
   */
  constructor(find, events) {
    this.find = find;
    this.events = events;
    /** Calls that are left this month; Infinity without a limit, or before it is known. */
    this.callsLeft = Infinity;
    find("sign-in-form").addEventListener("submit", (event) => this.#signIn(event));
    find("sign-out").addEventListener("click", () => this.#signOut());
  }

  /** Fetches the usage; shows it, or the form when the server needs a key. */
  async refresh() {
    try {
      this.#show(await fetchUsage());
    } catch (error) {
      this.#show(null);
      if (error.status === 401) this.find("sign-in").hidden = false;
    }
  }

  /** Shows the sign-in form, and lets the user type. */
  askForKey() {
    this.find("sign-in").hidden = false;
    this.find("key").focus();
  }

  async #signIn(event) {
    event.preventDefault();
    const field = this.find("key");
    try {
      await signIn(field.value.trim());
    } catch (error) {
      this.events.onError(rejection(error));
      field.focus();
      return;
    }
    field.value = "";
    this.find("sign-in").hidden = true;
    await this.refresh();
    this.events.onSignedIn();
  }

  async #signOut() {
    try {
      await signOut();
    } catch (error) {
      this.events.onError(explain(error, "").text);
      return;
    }
    this.events.onSignedOut();
    await this.refresh();
    this.find(this.find("sign-in").hidden ? "choose" : "key").focus();
  }

  #show(usage) {
    this.find("usage").hidden = usage === null;
    if (usage === null) return;
    this.find("sign-in").hidden = true;
    const quota = usage.quota ?? null;
    this.callsLeft = quota === null ? Infinity : Math.max(0, quota - usage.used);
    this.find("usage-count").textContent = describeUsage(usage);
    const bar = this.find("usage-bar");
    bar.hidden = quota === null;
    bar.max = Math.max(1, quota ?? 1);
    bar.value = Math.min(usage.used, bar.max);
    this.find("sign-out").hidden = !usage.session;
  }
}

/** Returns why a key was not accepted. */
function rejection(error) {
  if (error.status === 401) return "The server does not accept this key. Check it, or ask the operator for one.";
  if (error.status === 429) return `Too many were tried. Wait ${duration(error.waitS)}, then sign in again.`;
  return explain(error, "").text;
}
