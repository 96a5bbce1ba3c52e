/** Signing in and out, and the usage of the month. */

import { fetchUsage, signIn, signOut } from "./api.js";

const numbers = new Intl.NumberFormat("en");
const dates = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long", timeZone: "UTC" });

/** Shows the usage in the page header, or the sign-in form. */
export class Account {
  /**
   * @param {(id: string) => HTMLElement} find
   * @param {{onError: (error: Error) => void, onSignedIn: () => void, onSignedOut: () => void}} events
   */
  constructor(find, events) {
    this.find = find;
    this.events = events;
    find("sign-in-form").addEventListener("submit", (event) => this.#signIn(event));
    find("sign-out").addEventListener("click", () => this.#signOut());
  }

  /** Fetches the usage; shows it, or the form when the server needs a key. */
  async refresh() {
    try {
      this.#show(await fetchUsage());
    } catch (error) {
      if (error.status === 401) this.askForKey();
      else this.#show(null);
    }
  }

  /** Shows the sign-in form. */
  askForKey() {
    this.find("usage").hidden = true;
    this.find("sign-in").hidden = false;
  }

  async #signIn(event) {
    event.preventDefault();
    const field = this.find("key");
    try {
      await signIn(field.value.trim());
    } catch (error) {
      this.events.onError(error);
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
      this.events.onError(error);
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
    const used = numbers.format(usage.used);
    const count = quota === null ? used : `${used} of ${numbers.format(quota)}`;
    this.find("usage-count").textContent = `${count} ${(quota ?? usage.used) === 1 ? "call" : "calls"}`;
    this.find("usage-resets").textContent = usage.resets ? `, until ${dates.format(new Date(usage.resets))}` : "";
    const bar = this.find("usage-bar");
    bar.hidden = quota === null;
    bar.max = Math.max(1, quota ?? 1);
    bar.value = Math.min(usage.used, bar.max);
    this.find("sign-out").hidden = !usage.session;
  }
}
