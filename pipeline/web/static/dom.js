/** Elements, made without markup: no text becomes HTML. */

export const SVG = "http://www.w3.org/2000/svg";

/**
 * Returns an element.
 * @param {string} tag
 * @param {string} className
 * @param {...(Node | string)} children
 */
export function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className !== "") made.className = className;
  made.append(...children);
  return made;
}

/**
 * Returns a button.
 * @param {string} text
 * @param {() => void} onClick
 * @param {{className?: string, label?: string}} options `label` says more than the text does.
 */
export function button(text, onClick, { className = "", label = "" } = {}) {
  const made = element("button", className, text);
  made.type = "button";
  if (label !== "") {
    made.setAttribute("aria-label", label);
    made.title = label;
  }
  made.addEventListener("click", onClick);
  return made;
}
