/** Calls of this server's API. */

export const RECOGNITION_PATH = "/api/advanced-recognition";

const PDF_PATH = "/page/pdf";
const RECOGNITION_TIMEOUT_MS = 180_000;
const UPLOAD_TIMEOUT_MS = 300_000;
const TIMEOUT_MS = 15_000;

/** An error response, or a call without a response. */
export class ApiError extends Error {
  /**
   * @param {string} message The server's reason; "" without a response that has one.
   * @param {number} status HTTP status; 0 without a response.
   * @param {number} waitS Seconds after which the server asks to be called again; 0 when it does not say.
   */
  constructor(message, status = 0, waitS = 0) {
    super(message);
    this.status = status;
    this.waitS = waitS;
  }
}

/** A call that took too long, or whose response was cut off. */
export class InterruptedError extends Error {}

/**
 * Sends an image; returns the reply.
 * @param {string} dataUrl
 * @param {string} filename
 * @param {AbortSignal} signal
 */
export async function recognise(dataUrl, filename, signal) {
  const document = { type: "image_url", image_url: dataUrl };
  const request = json("POST", { document, filename });
  return await body(await call(RECOGNITION_PATH, request, RECOGNITION_TIMEOUT_MS, signal), "json", signal);
}

/**
 * Sends a PDF, whose pages the server then renders for a while.
 * @param {Blob} file
 * @param {AbortSignal} signal
 * @returns {Promise<{id: string, pages: number}>}
 */
export async function openPdf(file, signal) {
  const request = { method: "POST", body: file, headers: { "Content-Type": "application/pdf" } };
  return await body(await call(PDF_PATH, request, UPLOAD_TIMEOUT_MS, signal), "json", signal);
}

/**
 * Returns a page of a PDF as an image.
 * @param {string} id
 * @param {number} page 1-based
 * @param {AbortSignal} signal
 * @returns {Promise<Blob>}
 */
export async function fetchPdfPage(id, page, signal) {
  return await body(await call(`${PDF_PATH}/${id}/${page}`, {}, RECOGNITION_TIMEOUT_MS, signal), "blob", signal);
}

/**
 * Lets the server forget a PDF; it does so by itself after a while.
 * @param {string} id
 */
export async function closePdf(id) {
  await call(`${PDF_PATH}/${id}`, { method: "DELETE" }).catch(() => undefined);
}

/** Returns the usage of the month; null from a server without this route. */
export async function fetchUsage() {
  try {
    return await (await call("/api/usage")).json();
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

/**
 * Opens a session.
 * @param {string} key
 */
export async function signIn(key) {
  await call("/session", json("POST", { key }));
}

/** Ends the session. */
export async function signOut() {
  await call("/session", { method: "DELETE" });
}

function json(method, value) {
  return { method, body: JSON.stringify(value), headers: { "Content-Type": "application/json" } };
}

async function call(path, request = {}, timeoutMs = TIMEOUT_MS, signal = undefined) {
  const timeout = AbortSignal.timeout(timeoutMs);
  let response;
  try {
    response = await fetch(path, {
      ...request,
      credentials: "same-origin",
      cache: "no-store",
      redirect: "error",
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw timeout.aborted ? new InterruptedError("The server took too long.") : new ApiError("");
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

async function body(response, kind, signal) {
  try {
    return await response[kind]();
  } catch (error) {
    if (signal.aborted) throw error;
    throw new InterruptedError("The response was cut off.");
  }
}

async function errorOf(response) {
  let reason = "";
  try {
    reason = String((await response.json()).statusText ?? "");
  } catch {
    // the response of a proxy, without the API's body
  }
  const waitS = Number(response.headers.get("Retry-After"));
  return new ApiError(reason, response.status, Number.isFinite(waitS) ? waitS : 0);
}
