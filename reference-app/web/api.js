// Calls to the gateway, and the session of one user.

/** The time limit of a call, in milliseconds. The gateway's limit is shorter. */
const TIMEOUT = 15_000;
/** A token is renewed this long before it expires, in milliseconds. */
const EARLY = 60_000;
/** The longest Retry-After that the page follows, in milliseconds. */
const LONGEST_WAIT = 120_000;

/** A failed call. `status` is 0 if there was no response, or its body could not be read. */
export class Failure extends Error {
  constructor(status, problem = null, retryAfter = 0) {
    super(`status ${status}`);
    Object.assign(this, { status, problem, retryAfter });
    /** Whether the call was not sent, because the page got no token. */
    this.unsent = false;
  }
}

/** Makes one call and returns the JSON body of the response. Throws a `Failure`. */
export async function request(path, { method = "GET", headers = {}, body } = {}) {
  const options = { method, headers, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT) };
  if (body !== undefined) {
    options.headers = { ...headers, "content-type": "application/json" };
    options.body = JSON.stringify(body);
  }
  let response;
  let answer;
  try {
    response = await fetch(path, options);
    answer = await response.text();
  } catch {
    throw new Failure(0);
  }
  const json = parse(answer);
  if (!response.ok) throw new Failure(response.status, json, retryAfter(response));
  // A success without a readable body does not show the outcome.
  if (json === null) throw new Failure(0);
  return json;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Returns the Retry-After of a response, in milliseconds. The header has seconds or a date. */
function retryAfter(response) {
  const text = response.headers.get("retry-after") ?? "";
  const wait = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Math.min(Math.max(wait || 0, 0), LONGEST_WAIT);
}

/** Returns the backoff after `attempt` (from 0), in milliseconds: exponential, at most `cap`, with jitter. */
export const backoff = (attempt, cap) => Math.min(cap, 1000 * 2 ** attempt) * (0.5 + Math.random() / 2);

/** The calls of one user. The token is a development token, which the page renews without asking the user. */
export class Session {
  #token = null;

  constructor(user) {
    this.user = user;
  }

  /** Returns a token that is valid for some time. Concurrent callers share one request. */
  async token() {
    if (!this.#token || this.#token.expires < Date.now() + EARLY) {
      const issued = request("/dev/token", { method: "POST", body: { user: this.user } });
      this.#token = { expires: Infinity, issued };
    }
    const current = this.#token;
    try {
      const { token, expires_in: seconds } = await current.issued;
      if (current.expires === Infinity) current.expires = Date.now() + seconds * 1000;
      return token;
    } catch (failure) {
      if (this.#token === current) this.#token = null;
      failure.unsent = true;
      throw failure;
    }
  }

  /** Makes the next call request a new token. */
  forgetToken() {
    this.#token = null;
  }

  /** Makes a call with the token. If the token is refused, requests a new one and repeats the call once. */
  async call(path, options = {}) {
    for (let again = true; ; again = false) {
      const authorization = `Bearer ${await this.token()}`;
      try {
        return await request(path, { ...options, headers: { ...options.headers, authorization } });
      } catch (failure) {
        if (failure.status !== 401 || !again) throw failure;
        this.forgetToken();
      }
    }
  }
}
