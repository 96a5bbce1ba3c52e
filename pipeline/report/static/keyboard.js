/** Keys of the report; none while a person types. */

/**
 * Returns whether a key belongs to an input method, which has not ended its text yet; Safari says so by the code alone.
 * @param {KeyboardEvent} event
 */
export function isOfInputMethod(event) {
  return event.isComposing || event.keyCode === 229;
}

/**
 * Returns whether a key that was pressed belongs to what has the focus.
 * @param {KeyboardEvent} event
 */
function isTaken(event) {
  if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || isOfInputMethod(event)) return true;
  const { target } = event;
  if (target.closest?.("input, textarea, select, dialog")) return true;
  return event.key.startsWith("Arrow") && target.closest?.(".stage, .lines") !== null;
}

/**
 * Calls an action per key.
 * @param {Record<string, () => void>} actions By `KeyboardEvent.key`.
 * @param {string[]} once Keys that act once, however long they are held.
 */
export function listenToKeys(actions, once) {
  let held = null;
  document.addEventListener("keydown", (event) => {
    if (!event.repeat) held = null;
    if (held !== null && event.key === held) {
      event.preventDefault(); // it would be typed into the field that it has opened
      return;
    }
    if (!Object.hasOwn(actions, event.key) || isTaken(event)) return;
    event.preventDefault();
    if (once.includes(event.key)) held = event.key;
    actions[event.key]();
  });
}
