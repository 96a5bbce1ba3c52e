/** What may be sent: decided from the file's first bytes, since names and declared types are often wrong. */

export const MAX_BYTES = 10 * 1024 * 1024;

const MAGIC = [
  ["image/jpeg", /^\xff\xd8\xff/],
  ["image/png", /^\x89PNG\r\n\x1a\n/],
  ["image/gif", /^GIF8[79]a/],
  ["image/webp", /^RIFF[^]{4}WEBP/],
];

/** A file that is not sent; the message is for the reader. */
export class RefusedFile extends Error {}

/**
 * Returns the file's media type.
 * @param {File} file
 * @throws {RefusedFile} it is too large, or no image that the API takes.
 */
export async function checkFile(file) {
  if (file.size > MAX_BYTES) {
    throw new RefusedFile(`${file.name} is too large: 10 MB are taken at most.`);
  }
  const head = String.fromCharCode(...new Uint8Array(await file.slice(0, 16).arrayBuffer()));
  const found = MAGIC.find(([, pattern]) => pattern.test(head));
  if (!found) throw new RefusedFile(`${file.name} is no JPEG, PNG, GIF or WebP image.`);
  return found[0];
}

/**
 * Returns the file as a data URL.
 * @param {File} file
 * @param {string} mediaType
 */
export async function toDataUrl(file, mediaType) {
  const reader = new FileReader();
  const read = new Promise((resolve, reject) => {
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new RefusedFile(`${file.name} cannot be read.`));
  });
  reader.readAsDataURL(file);
  const url = await read;
  return `data:${mediaType};base64,${url.slice(url.indexOf(",") + 1)}`;
}
