/** The calls to this server. */

export const RECOGNITION_PATH = "/api/advanced-recognition";

const RECOGNITION_DEADLINE_MS = 180_000;
const ACCOUNT_DEADLINE_MS = 15_000;

/** A call that was refused or failed; the message is for the reader. */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {number} status 0 when no answer came.
   */
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/**
 * Returns the server's reply to an image.
 * @param {string} dataUrl
 * @param {string} filename
 * @param {AbortSignal} signal
 */
export async function recognise(dataUrl, filename, signal) {
  const document = { type: "image_url", image_url: dataUrl };
  const options = { method: "POST", body: JSON.stringify({ document, filename }) };
  const response = await call(RECOGNITION_PATH, options, RECOGNITION_DEADLINE_MS, signal);
  try {
    return await response.json();
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ApiError("The server's answer broke off. Try again.");
  }
}

/** Returns the month's usage; null from a server that does not count. */
export async function fetchUsage() {
  try {
    return await (await call("/api/usage")).json();
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

/** @param {string} key */
export async function signIn(key) {
  await call("/session", { method: "POST", body: JSON.stringify({ key }) });
}

export async function signOut() {
  await call("/session", { method: "DELETE" });
}

async function call(path, options = {}, deadlineMs = ACCOUNT_DEADLINE_MS, signal = undefined) {
  const deadline = AbortSignal.timeout(deadlineMs);
  const headers = options.body ? { "Content-Type": "application/json" } : {};
  let response;
  try {
    response = await fetch(path, {
      ...options,
      headers,
      credentials: "same-origin",
      cache: "no-store",
      redirect: "error",
      signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(deadline.aborted ? "The server took too long. Try again." : "The server cannot be reached.");
  }
  if (!response.ok) throw await explain(response);
  return response;
}

async function explain(response) {
  let text = "";
  try {
    text = String((await response.json()).statusText ?? "");
  } catch {
    // a proxy's page instead of the API's body: the status has to do
  }
  const wait = response.status === 429 ? Number(response.headers.get("Retry-After")) : 0;
  const message = text || `The server answered ${response.status} without saying why.`;
  return new ApiError(wait > 0 ? `${message} (try again in ${wait} s)` : message, response.status);
}
