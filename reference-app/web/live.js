// The WebSocket of one user: opens it, detects a lost connection, and reconnects.

import { backoff, request } from "./api.js";

const LONGEST_BACKOFF = 15_000;
/** The time limit for the answer to a ping, in milliseconds. */
const PONG_LIMIT = 10_000;
/** The close code of the server when the token has expired. */
const TOKEN_EXPIRED = 4401;

/**
 * A connection that is opened again until `stop`. `on.state` gets `connecting`, `open`, `refused` (it was never open) or
 * `lost`. `on.open` is called when the socket receives every later event. `on.event` gets each event frame, and may get a
 * frame twice.
 */
export class Live {
  #socket = null;
  #stopped = false;
  #opened = false;
  #attempt = 0;
  #wake = () => {};
  #lost = () => {};
  #pings = 0;
  #overdue = 0;

  constructor(session, on) {
    this.session = session;
    this.on = on;
    this.#run();
  }

  /** Ends the backoff, and makes the next attempt now. */
  retryNow() {
    this.#attempt = 0;
    this.#wake();
  }

  stop() {
    this.#stopped = true;
    this.#wake();
    this.#socket?.close();
  }

  async #run() {
    this.on.state("connecting");
    while (!this.#stopped) {
      try {
        await this.#connect();
      } catch {
        // Without a token or an address, the attempt counts as refused.
      }
      this.#quiet();
      if (this.#stopped) return;
      this.on.state(this.#opened ? "lost" : "refused");
      await new Promise((resolve) => {
        this.#wake = resolve;
        setTimeout(resolve, backoff(this.#attempt, LONGEST_BACKOFF));
      });
      this.#attempt += 1;
    }
  }

  /** Opens the socket. Resolves when it is closed. */
  async #connect() {
    const { websocket } = await request("/v1/realtime");
    const token = await this.session.token();
    if (this.#stopped) return;
    const socket = new WebSocket(`${websocket}/v1/events`, ["comms.v1", `bearer.${token}`]);
    this.#socket = socket;
    let welcomed = false;
    await new Promise((resolve) => {
      socket.onmessage = ({ data }) => {
        const frame = JSON.parse(data);
        clearTimeout(this.#overdue);
        if (frame.type === "event" && !this.#stopped) this.on.event(frame);
        if (frame.type === "welcome") {
          welcomed = true;
          this.#welcome(frame);
        }
      };
      socket.onclose = ({ code }) => {
        // A browser does not show why a handshake was refused. The token may be the reason.
        if (!welcomed || code === TOKEN_EXPIRED) this.session.forgetToken();
        resolve();
      };
      this.#lost = resolve;
    });
  }

  #welcome({ ping_seconds: seconds }) {
    this.#opened = true;
    this.#attempt = 0;
    this.on.state("open");
    this.on.open();
    this.#pings = setInterval(() => this.#ping(), seconds * 1000);
  }

  /** Sends a ping as a message, to detect a dead connection: browsers do not show the pings of the protocol. */
  #ping() {
    this.#socket.send('{"type":"ping"}');
    clearTimeout(this.#overdue);
    this.#overdue = setTimeout(() => {
      // On a dead connection, `onclose` may be called only after minutes.
      this.#socket.close();
      this.#lost();
    }, PONG_LIMIT);
  }

  #quiet() {
    clearInterval(this.#pings);
    clearTimeout(this.#overdue);
  }
}
