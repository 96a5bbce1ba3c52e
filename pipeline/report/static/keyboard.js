/** Keys of the report; none while a person types. */

/**
 * Returns whether a key that was pressed belongs to what has the focus.
 * @param {KeyboardEvent} event
 */
function isTaken(event) {
  if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey || event.isComposing) return true;
  const { target } = event;
  if (target.closest?.("input, textarea, select, dialog")) return true;
  return event.key.startsWith("Arrow") && target.closest?.(".stage, .lines") !== null;
}

/**
 * Calls an action per key.
 * @param {Record<string, () => void>} actions By `KeyboardEvent.key`.
 */
export function listenToKeys(actions) {
  document.addEventListener("keydown", (event) => {
    if (!Object.hasOwn(actions, event.key) || isTaken(event)) return;
    event.preventDefault();
    actions[event.key]();
  });
}
