/** The curl command that sends the same request as the page. */

import { RECOGNITION_PATH } from "./api.js";

/**
 * Returns a command for a POSIX shell. The image is piped, because it is too long for a command line.
 * @param {string} origin
 * @param {string} filename
 * @param {string} mediaType
 */
export function curlCommand(origin, filename, mediaType) {
  const name = JSON.stringify(filename);
  const head = `{"filename": ${name}, "document": {"type": "image_url", "image_url": "data:${mediaType};base64,`;
  return [
    `{ printf %s ${quote(head)}`,
    `  base64 < ${quote(filename)} | tr -d '\\n'`,
    `  printf '"}}'`,
    `} | curl -sS "${origin}${RECOGNITION_PATH}?key=$PAGEMILL_API_KEY" \\`,
    `  -H 'Content-Type: application/json' --data-binary @-`,
  ].join("\n");
}

function quote(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
