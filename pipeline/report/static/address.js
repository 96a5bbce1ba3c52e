/** Addresses of views: the part after # names a page by its source, so that it outlives a rebuild. */

/**
 * Returns the address of a page.
 * @param {{name: string, page: number, bytes: string | null}} key
 */
export function addressOf({ name, page, bytes }) {
  const named = bytes === null ? { source: name } : { source_b64: bytes };
  return `#${new URLSearchParams({ ...named, page })}`;
}

/**
 * Returns what an address names.
 * @param {string} hash
 * @returns {{view: "overview" | "pages", key: {name: string, page: number, bytes: string | null} | null}}
 */
export function parseAddress(hash) {
  const text = hash.replace(/^#/u, "");
  if (text === "" || text === "overview") return { view: "overview", key: null };
  const fields = new URLSearchParams(text);
  const [name, bytes, page] = [fields.get("source"), fields.get("source_b64"), Number(fields.get("page"))];
  if ((name === null && bytes === null) || !Number.isInteger(page) || page < 1) return { view: "pages", key: null };
  return { view: "pages", key: { name: name ?? "", page, bytes } };
}
