// Calls to the gateway, and the session of one user.

/** How long a call may take, in milliseconds. The gateway's own limit is shorter. */
const TIMEOUT = 15_000;
/** A token is replaced this long before it expires, in milliseconds. */
const EARLY = 60_000;
const LONGEST_WAIT = 120_000;

/** A call without a good answer. `status` is 0 if there was no answer at all. */
export class Failure extends Error {
  constructor(status, problem = null, retryAfter = 0) {
    super(`status ${status}`);
    Object.assign(this, { status, problem, retryAfter });
    /** Whether the call itself was never sent, because there was no token. */
    this.unsent = false;
  }
}

/** Makes one call and returns its JSON body. Throws a `Failure`. */
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
  // A success that cannot be read shows nothing about what happened.
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

/** The wait that the answer asks for, in milliseconds: the header has seconds or a date. */
function retryAfter(response) {
  const text = response.headers.get("retry-after") ?? "";
  const wait = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Math.min(Math.max(wait || 0, 0), LONGEST_WAIT);
}

/** A wait before the attempt after `attempt` (from 0), in milliseconds: longer each time, and spread. */
export const backoff = (attempt, cap) => Math.min(cap, 1000 * 2 ** attempt) * (0.5 + Math.random() / 2);

/** The calls of one user. The token is a development token: it is replaced without a question. */
export class Session {
  #token = null;

  constructor(user) {
    this.user = user;
  }

  /** A token with some life left. Callers at the same time share one call. */
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

  /** Makes the next caller sign in again. */
  forgetToken() {
    this.#token = null;
  }

  /** A call with the token. If the token is refused, signs in again and repeats the call once. */
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
