/** Checks a file before it is sent: by its first bytes, because names and declared types are often wrong. */

export const MAX_BYTES = 10 * 1024 * 1024;

const MAGIC = [
  ["image/jpeg", /^\xff\xd8\xff/],
  ["image/png", /^\x89PNG\r\n\x1a\n/],
  ["image/gif", /^GIF8[79]a/],
  ["image/webp", /^RIFF[^]{4}WEBP/],
];

/** A file that cannot be sent; the message is shown to the user. */
export class InvalidFileError extends Error {}

/**
 * Returns the media type of the file.
 * @param {File} file
 * @throws {InvalidFileError} the file is too large, or not of a format that the API accepts.
 */
export async function checkFile(file) {
  if (file.size > MAX_BYTES) {
    throw new InvalidFileError(`${file.name} is too large: at most 10 MB.`);
  }
  const head = String.fromCharCode(...new Uint8Array(await file.slice(0, 16).arrayBuffer()));
  const found = MAGIC.find(([, pattern]) => pattern.test(head));
  if (!found) throw new InvalidFileError(`${file.name} is not a JPEG, PNG, GIF or WebP image.`);
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
    reader.onerror = () => reject(new InvalidFileError(`${file.name} cannot be read.`));
  });
  reader.readAsDataURL(file);
  const url = await read;
  return `data:${mediaType};base64,${url.slice(url.indexOf(",") + 1)}`;
}
