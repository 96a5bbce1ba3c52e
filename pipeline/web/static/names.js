/** Names of files, which may come from anybody. */

/** Control characters, and those that turn the direction of what follows: "exe.gpj" would read "jpg.exe". */
const DECEPTIVE = /[\p{Cc}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

/**
 * Returns a name with each deceptive character replaced by U+FFFD.
 * @param {string} name
 */
export function visible(name) {
  return name.replace(DECEPTIVE, "\ufffd");
}
