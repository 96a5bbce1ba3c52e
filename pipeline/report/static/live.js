/** What was reviewed since the report was built, by anybody: a report that is served learns of it while it is open. */

const PAUSE_MS = 5_000;
/** When the server does not answer. */
const LONGEST_PAUSE_MS = 60_000;

/**
 * @typedef {{source: string, source_b64?: string, page: number, id: string, text: string, corrected: boolean,
 * checked: boolean, by: string | null, browser: string | null, at: string, added: string}} Review
 */

/** The reviews that the server has told. */
export class Live {
  constructor(rows) {
    this.rows = rows;
    /** @type {Map<number, Review>} */
    this.reviews = new Map();
    this.last = 0;
    this.isReachable = true;
    /** Whether the server has forgotten some before they were asked for. */
    this.hasMissed = false;
    /** Whether the server keeps corrections that it has not folded in. */
    this.isWaiting = false;
  }

  /**
   * Asks the server.
   * @returns {Promise<number[]>} the rows that were reviewed since it was asked last
   */
  async poll() {
    const changed = [];
    try {
      for (let isMore = true; isMore; ) {
        const reply = await fetch(`corrections?after=${this.last}`);
        this.isReachable = reply.ok;
        if (!reply.ok) break;
        const { last, more, missed, waiting, reviews } = await reply.json();
        [this.last, isMore, this.isWaiting] = [last, more, waiting];
        this.hasMissed ||= missed;
        for (const review of reviews) {
          const row = this.rows.find(review);
          if (row < 0 || !this.rows.review(row, review)) continue;
          this.reviews.set(row, review);
          changed.push(row);
        }
      }
    } catch {
      this.isReachable = false;
    }
    return changed;
  }

  /**
   * Returns a page as the workspace has it.
   * @param {number} row
   * @param {string} text As the report has it.
   * @param {object} details As the report has them.
   * @returns {{text: string, details: object, review: Review | null}}
   */
  over(row, text, details) {
    const review = this.reviews.get(row);
    if (review === undefined || review.added <= details.added) return { text, details, review: null };
    const { id, added, at, by } = review;
    return { text: review.text, details: { ...details, id, added, at, by: by ?? undefined }, review };
  }

  /**
   * Calls an action now and then while the page is in view, and whenever it comes into view.
   * @param {() => Promise<void>} act
   */
  follow(act) {
    let [timer, pause, isBusy] = [0, PAUSE_MS, false];
    const run = async () => {
      clearTimeout(timer);
      if (isBusy) return;
      isBusy = true;
      if (document.visibilityState === "visible") await act();
      isBusy = false;
      pause = this.isReachable ? PAUSE_MS : Math.min(LONGEST_PAUSE_MS, pause * 2);
      timer = setTimeout(run, pause);
    };
    document.addEventListener("visibilitychange", run);
    window.addEventListener("focus", run);
    timer = setTimeout(run, pause);
  }
}

/**
 * Returns a sentence about a review.
 * @param {Review} review
 * @param {string} who
 */
export function sentenceOf({ corrected, checked, at }, who) {
  const moment = new Date(at);
  const time = moment.toLocaleTimeString("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const isToday = moment.toDateString() === new Date().toDateString();
  const deed = corrected ? "corrected" : checked ? "checked" : "reviewed";
  return `${who} ${deed} this ${isToday ? "" : `on ${moment.toLocaleDateString("sv")} `}at ${time}.`;
}
