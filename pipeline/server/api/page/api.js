/** Calls of this server's API. */

export const RECOGNITION_PATH = "/api/advanced-recognition";

const RECOGNITION_TIMEOUT_MS = 180_000;
const ACCOUNT_TIMEOUT_MS = 15_000;

/** An error response, or a call without a response; the message is shown to the user. */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {number} HTTP status; 0 without a response.
   */
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/**
 * Sends an image; returns the reply.
 * @param {string} dataUrl
 * @param {string} filename
 * @param {AbortSignal} signal
 */
export async function recognise(dataUrl, filename, signal) {
  const document = { type: "image_url", image_url: dataUrl };
  const options = { method: "POST", body: JSON.stringify({ document, filename }) };
  const response = await call(RECOGNITION_PATH, options, RECOGNITION_TIMEOUT_MS, signal);
  try {
    return await response.json();
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ApiError("The response was cut off. Try again.");
  }
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
  await call("/session", { method: "POST", body: JSON.stringify({ key }) });
}

/** Ends the session. */
export async function signOut() {
  await call("/session", { method: "DELETE" });
}

async function call(path, options = {}, timeoutMs = ACCOUNT_TIMEOUT_MS, signal = undefined) {
  const timeout = AbortSignal.timeout(timeoutMs);
  const headers = options.body ? { "Content-Type": "application/json" } : {};
  let response;
  try {
    response = await fetch(path, {
      ...options,
      headers,
      credentials: "same-origin",
      cache: "no-store",
      redirect: "error",
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(timeout.aborted ? "The server took too long. Try again." : "The server cannot be reached.");
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

async function errorOf(response) {
  let text = "";
  try {
    text = String((await response.json()).statusText ?? "");
  } catch {
    // the response of a proxy, without the API's body
  }
  const wait = response.status === 429 ? Number(response.headers.get("Retry-After")) : 0;
  const message = text || `The server answered ${response.status} without saying why.`;
  return new ApiError(wait > 0 ? `${message} (try again in ${wait} s)` : message, response.status);
}
