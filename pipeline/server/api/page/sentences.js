/** Numbers, dates and findings in words. */

export const numbers = new Intl.NumberFormat("en");
export const days = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long", timeZone: "UTC" });

/**
 * Returns the usage of the month.
 * @param {{used: number, quota: number | null, resets: string}} usage
 */
export function describeUsage({ used, quota, resets }) {
  const count = quota === null ? numbers.format(used) : `${numbers.format(used)} of ${numbers.format(quota)}`;
  return `${count} ${(quota ?? used) === 1 ? "call" : "calls"} used; resets ${days.format(new Date(resets))}`;
}

/**
 * Returns why a page is in doubt.
 * @param {string[]} warnings Of the reply, each "what is wrong" or "what is wrong: by how much".
 */
export function describeDoubt(warnings) {
  if (warnings.length === 0) return "";
  const reasons = warnings.map((warning) => warning.replace(/: ([^:]+)$/, " ($1)"));
  return ` Compare it with the picture: ${reasons.join("; ")}.`;
}

/**
 * Returns a number with the noun that it counts.
 * @param {number} number
 * @param {string} noun
 */
export function counted(number, noun) {
  return `${numbers.format(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/**
 * Returns a time in words, in minutes where it is long.
 * @param {number} seconds
 */
export function duration(seconds) {
  return seconds < 120 ? counted(seconds, "second") : counted(Math.ceil(seconds / 60), "minute");
}

/**
 * Returns the number of lines of a text.
 * @param {string} text
 */
export function linesOf(text) {
  return text === "" ? 0 : text.split("\n").length;
}
