// The live events of one user, over a connection that resumes.

import { backoff, request } from "./api.js";
import { CommsEvents } from "./comms-events.js";

const LONGEST_BACKOFF = 15_000;

/**
 * A connection that is opened again until `stop`. `on.state` gets `connecting`, `open`, `refused` (it was never open) or
 * `lost`. `on.read` is called when the state must be read: at the first connection, and after events were lost. `on.event`
 * gets each event once.
 */
export class Live {
  #events = null;
  #stopped = false;
  #opened = false;
  #wake = () => {};

  constructor(session, on) {
    this.session = session;
    this.on = on;
    this.#run();
  }

  /** Ends the wait for the next attempt. */
  retryNow() {
    this.#wake();
    this.#events?.reconnect();
  }

  stop() {
    this.#stopped = true;
    this.#wake();
    this.#events?.close();
  }

  async #run() {
    this.on.state("connecting");
    const address = await this.#address();
    if (this.#stopped) return;
    // The policy of the page admits the socket alone, so there is no event stream to fall back to.
    const events = new CommsEvents(address, { token: (hint) => this.#token(hint), EventSource: null });
    this.#events = events;
    events.addEventListener("event", ({ detail }) => this.on.event(detail));
    events.addEventListener("missed", () => this.on.read());
    events.addEventListener("state", ({ detail }) => this.#changed(detail.state));
  }

  /** Asks for the address of the socket until there is an answer. */
  async #address() {
    for (let attempt = 0; !this.#stopped; attempt += 1) {
      try {
        const { websocket } = await request("/v1/realtime");
        return `${websocket}/v1/events`;
      } catch {
        this.on.state("refused");
        await new Promise((resolve) => {
          this.#wake = resolve;
          setTimeout(resolve, backoff(attempt, LONGEST_BACKOFF));
        });
      }
    }
    return "";
  }

  #token({ refused }) {
    if (refused) this.session.forgetToken();
    return this.session.token();
  }

  #changed(state) {
    if (this.#stopped) return;
    if (state === "open") {
      this.on.state("open");
      if (!this.#opened) this.on.read();
      this.#opened = true;
    } else if (state === "waiting" || state === "failed") {
      this.on.state(this.#opened ? "lost" : "refused");
    }
  }
}
