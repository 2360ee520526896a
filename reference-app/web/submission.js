// One submission of the form: one Idempotency-Key from the user's click to the answer that settles it.

import { backoff } from "./api.js";

const STORE = "comms.submission";
const LONGEST_BACKOFF = 30_000;
/** Refusals that pass: sign-in, time-out, the same key in flight, too early, too many. */
const PASSING = [401, 408, 409, 425, 429];
/** Problems with which the gateway proves that the order was not placed. */
const NOT_PLACED = ["/problems/unavailable", "/problems/rate-limit"];

const isFinal = ({ status }) => status >= 400 && status < 500 && !PASSING.includes(status);
const isProof = ({ status, unsent, problem }) => unsent || status === 401 || NOT_PLACED.includes(problem?.type);

/** Hexadecimal digits of a random number. `crypto.randomUUID` does not exist on a page without TLS. */
const newKey = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/**
 * An order that the user wants to place. It is kept in the tab's storage until it is settled, so that a reload goes on
 * with the same key. `unknown` tells whether an attempt may have placed it.
 */
export class Submission {
  #wake = () => {};
  #stopped = false;

  constructor({ key, user, form, order, unknown }) {
    Object.assign(this, { key, user, form, order, unknown });
  }

  /** The submission of a click. `form` has the fields' texts, `order` the body of the call. */
  static begin(user, form, order) {
    const submission = new Submission({ key: newKey(), user, form, order, unknown: false });
    submission.#save();
    return submission;
  }

  /** The submission that a reload interrupted, or null. */
  static restore() {
    try {
      const stored = JSON.parse(sessionStorage.getItem(STORE));
      const whole = typeof stored?.key === "string" && stored.user && stored.form && stored.order;
      return whole ? new Submission(stored) : null;
    } catch {
      return null;
    }
  }

  /**
   * Sends the order until an answer settles it. Calls `waiting(failure)` before each wait.
   * Resolves to `{ order }`, `{ refused: failure }` or `{ stopped: true }`.
   */
  async settle(session, waiting) {
    for (let attempt = 0; ; attempt += 1) {
      const result = await this.#attempt(session);
      if (result.order || result.refused || this.#stopped) {
        this.#forget();
        return this.#stopped && !result.order ? { stopped: true } : result;
      }
      waiting(result.failure);
      await this.#wait(Math.max(result.failure.retryAfter, backoff(attempt, LONGEST_BACKOFF)));
      if (this.#stopped) {
        this.#forget();
        return { stopped: true };
      }
    }
  }

  async #attempt(session) {
    const before = this.unknown;
    // Before it is sent: a page that is closed now does not learn the outcome.
    this.unknown = true;
    this.#save();
    try {
      const headers = { "idempotency-key": this.key };
      return { order: await session.call("/v1/orders", { method: "POST", headers, body: this.order }) };
    } catch (failure) {
      const final = isFinal(failure);
      if (final || isProof(failure)) this.unknown = before;
      this.#save();
      return final ? { refused: failure } : { failure };
    }
  }

  #wait(milliseconds) {
    return new Promise((resolve) => {
      this.#wake = resolve;
      setTimeout(resolve, milliseconds);
    });
  }

  /** Ends the wait. */
  retryNow() {
    this.#wake();
  }

  /** Gives up after the attempt that is in flight. The order may have been placed if `unknown` is set. */
  stop() {
    this.#stopped = true;
    this.#wake();
  }

  #save() {
    const { key, user, form, order, unknown } = this;
    try {
      sessionStorage.setItem(STORE, JSON.stringify({ key, user, form, order, unknown }));
    } catch {
      // Without storage the key lives as long as the page.
    }
  }

  #forget() {
    try {
      sessionStorage.removeItem(STORE);
    } catch {
      // As above.
    }
  }
}
