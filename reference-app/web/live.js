// The socket of one user: opened, watched, and opened again.

import { backoff, request } from "./api.js";

const LONGEST_BACKOFF = 15_000;
/** How long the server may take to answer a ping, in milliseconds. */
const PONG_LIMIT = 10_000;
/** The server closes with this code when the token's time is over. */
const TOKEN_EXPIRED = 4401;

/**
 * `on.state` gets `connecting`, `open`, `refused` (not open yet) or `lost`. `on.open` is called when every later event will
 * be heard. `on.event` gets each event frame, some of them twice.
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

  /** Connects now if a wait for the next attempt is running. */
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
        // No token, no address: as if the socket had been refused.
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

  /** Resolves when the socket is closed again. */
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
        // A browser does not show why a handshake was refused: the token may be the reason.
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

  /** A browser hides the protocol's pings: a connection that is gone without a word is found by one of our own. */
  #ping() {
    this.#socket.send('{"type":"ping"}');
    clearTimeout(this.#overdue);
    this.#overdue = setTimeout(() => {
      // `onclose` may take minutes on such a connection.
      this.#socket.close();
      this.#lost();
    }, PONG_LIMIT);
  }

  #quiet() {
    clearInterval(this.#pings);
    clearTimeout(this.#overdue);
  }
}
