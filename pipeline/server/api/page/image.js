/** Checks a file before it is sent: by its first bytes, because names and declared types are often wrong. */

import { visible } from "./names.js";

export const PDF = "application/pdf";

const MEGABYTE = 1024 * 1024;
const IMAGE_MAX_BYTES = 10 * MEGABYTE;
const PDF_MAX_BYTES = 48 * MEGABYTE;

const MAGIC = [
  ["image/jpeg", /^\xff\xd8\xff/],
  ["image/png", /^\x89PNG\r\n\x1a\n/],
  ["image/gif", /^GIF8[79]a/],
  ["image/webp", /^RIFF[^]{4}WEBP/],
  [PDF, /%PDF-/], // anywhere in the first kilobyte: ISO 32000-1, implementation note 13
];

/** A file that cannot be sent; the message is shown to the user. */
export class InvalidFileError extends Error {}

/**
 * Returns the media type of the file.
 * @param {File} file
 * @throws {InvalidFileError} the file is too large, or not of a format that the server accepts.
 */
export async function checkFile(file) {
  const name = visible(file.name);
  let head;
  try {
    head = String.fromCharCode(...new Uint8Array(await file.slice(0, 1024).arrayBuffer()));
  } catch {
    throw new InvalidFileError(`${name} cannot be opened: it is a folder, or was moved or changed.`);
  }
  const mediaType = MAGIC.find(([, pattern]) => pattern.test(head))?.[0];
  if (mediaType === undefined) {
    throw new InvalidFileError(`${name} is neither a JPEG, PNG, GIF or WebP image nor a PDF. Choose one that is.`);
  }
  const maxBytes = mediaType === PDF ? PDF_MAX_BYTES : IMAGE_MAX_BYTES;
  if (file.size > maxBytes) {
    throw new InvalidFileError(`${name} is too large: at most ${maxBytes / MEGABYTE} MB. Choose a smaller one.`);
  }
  return mediaType;
}

/**
 * Returns the file as a data URL.
 * @param {Blob} file
 * @param {string} mediaType
 */
export async function toDataUrl(file, mediaType) {
  const reader = new FileReader();
  const read = new Promise((resolve, reject) => {
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new InvalidFileError("The file cannot be read: it was moved or changed."));
  });
  reader.readAsDataURL(file);
  const url = await read;
  return `data:${mediaType};base64,${url.slice(url.indexOf(",") + 1)}`;
}
