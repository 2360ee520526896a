// Submits an order: one submission, with one Idempotency-Key from the user's click until the final response.

import { backoff } from "./api.js";

const STORE = "comms.submission";
const LONGEST_BACKOFF = 30_000;
/** Statuses to retry: unauthorized, request timeout, the same key in flight, too early, too many requests. */
const PASSING = [401, 408, 409, 425, 429];
/** The types of problems that prove that the order was not placed. */
const NOT_PLACED = ["/problems/unavailable", "/problems/rate-limit"];

const isFinal = ({ status }) => status >= 400 && status < 500 && !PASSING.includes(status);
const isProof = ({ status, unsent, problem }) => unsent || status === 401 || NOT_PLACED.includes(problem?.type);

/** Returns 128 random bits as hexadecimal digits. `crypto.randomUUID` does not exist on a page without TLS. */
const newKey = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/**
 * An order that the user wants to place. It is kept in the tab's storage until it is settled, so that the page continues
 * with the same key after a reload. `unknown` is true if an attempt may have placed the order.
 */
export class Submission {
  #wake = () => {};
  #stopped = false;

  constructor({ key, user, form, order, unknown }) {
    Object.assign(this, { key, user, form, order, unknown });
  }

  /** Creates and stores a submission. `form` has the fields' texts, `order` is the body of the call. */
  static begin(user, form, order) {
    const submission = new Submission({ key: newKey(), user, form, order, unknown: false });
    submission.#save();
    return submission;
  }

  /** Returns the submission that a reload interrupted, or null. */
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
   * Sends the order until a response settles it. Calls `waiting(failure)` before each backoff.
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
    // Stored before the call, because a page that is closed during the call does not learn the outcome.
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

  /** Ends the backoff, and makes the next attempt now. */
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
      // Without storage, the key is lost when the page is closed.
    }
  }

  #forget() {
    try {
      sessionStorage.removeItem(STORE);
    } catch {
      // Without storage, there is nothing to remove.
    }
  }
}
