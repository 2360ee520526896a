// A scripted server, and a client whose clock stands still unless a test moves it.

import { createServer } from "node:http";
import { createRequire } from "node:module";
import { once } from "node:events";
import { CommsEvents } from "../comms-events.js";

// NODE_PATH, where scripts/node has installed the package, applies to `require` alone.
const { WebSocketServer } = createRequire(import.meta.url)("ws");
const LIMIT = 10_000;

/** Waits for `promise`. The test fails after 10 s of real time. */
export async function within(what, promise) {
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within the time limit: ${what}`)), LIMIT);
  });
  return Promise.race([promise, limit]).finally(() => clearTimeout(timer));
}

/** Waits until `test` returns true. */
export async function until(what, test) {
  const end = Date.now() + LIMIT;
  while (!test()) {
    if (Date.now() > end) throw new Error(`not within the time limit: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

export class Clock {
  #now = 0;
  #unix = 1_000_000;
  #timers = new Map();
  #next = 1;

  /** The time since 1970. */
  now = () => this.#unix + this.#now;
  monotonic = () => this.#now;
  setTimeout = (call, wait = 0) => {
    const id = this.#next++;
    this.#timers.set(id, { at: this.#now + wait, call });
    return id;
  };
  clearTimeout = (id) => this.#timers.delete(id);

  get timers() {
    return this.#timers.size;
  }

  /** Moves the clock, and calls the timers that are due in their order. */
  advance(by) {
    const end = this.#now + by;
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (!due) break;
      this.#timers.delete(due[0]);
      this.#now = Math.max(this.#now, due[1].at);
      due[1].call();
    }
    this.#now = end;
  }

  /** Moves the clock, and only then calls the timers that are due: those of a page that was frozen or is hidden. */
  jump(by) {
    this.#now += by;
    this.advance(0);
  }

  /** Sets the time since 1970 forward, and no other time. */
  set(by) {
    this.#unix += by;
  }
}

/** Values that are awaited one after the other. */
class Queue {
  values = [];
  #wake = () => {};

  push(value) {
    this.values.push(value);
    this.#wake();
  }

  async next(what) {
    while (!this.values.length) await within(what, new Promise((resolve) => (this.#wake = resolve)));
    return this.values.shift();
  }
}

/** The server's side of a WebSocket. */
class Peer {
  #frames = new Queue();
  #closed;

  constructor(socket, request) {
    const protocols = request.headers["sec-websocket-protocol"].split(", ");
    Object.assign(this, { socket, query: query(request), protocols });
    socket.on("message", (data) => this.#frames.push(JSON.parse(data)));
    this.#closed = once(socket, "close").then(([code]) => code);
  }

  /** Resolves to the close code of the client. */
  get closed() {
    return within("the close of a WebSocket", this.#closed);
  }

  get token() {
    return this.protocols.find((one) => one.startsWith("bearer."))?.slice("bearer.".length);
  }

  send(frame) {
    this.socket.send(JSON.stringify(frame));
  }

  frame() {
    return this.#frames.next("a frame of the client");
  }

  get unread() {
    return this.#frames.values.length;
  }
}

/** The server's side of an event stream. */
class Stream {
  #closed;

  constructor(request, response) {
    Object.assign(this, { response, query: query(request) });
    this.#closed = once(response, "close");
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.flushHeaders();
  }

  get closed() {
    return within("the end of an event stream", this.#closed);
  }

  send(frame) {
    this.response.write(`data: ${JSON.stringify(frame)}\n\n`);
  }

  end() {
    this.response.end();
  }
}

/** What both kinds of connections send. */
for (const { prototype } of [Peer, Stream]) {
  prototype.welcome = function (topics = [], more = {}) {
    this.send({ type: "welcome", session: "s", topics, ping_seconds: 10, ...more });
  };
  prototype.event = function (topic, offset, more = {}) {
    this.send({ type: "event", topic, offset, id: `id/${offset}`, event: "e", data: { n: offset }, ...more });
  };
}

const query = (request) => {
  const text = request.url.split("?")[1] ?? "";
  return text.replace(/%([0-9A-F]{2})/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
};

export class Server {
  #peers = new Queue();
  #streams = new Queue();
  #sockets = new WebSocketServer({ noServer: true, handleProtocols: () => "comms.v1" });
  /** Whether a proxy blocks WebSockets. */
  isBlocked = false;
  /** The status of all other requests. */
  status = 200;
  /** The requests, as text. */
  requests = [];
  tickets = 0;

  static async start(t) {
    const server = new Server();
    server.http = createServer((request, response) => server.#answer(request, response));
    server.http.on("upgrade", (request, socket, head) => server.#upgrade(request, socket, head));
    server.http.listen(0, "127.0.0.1");
    await once(server.http, "listening");
    server.url = `http://127.0.0.1:${server.http.address().port}/v1/events`;
    t.after(() => server.stop());
    return server;
  }

  stop() {
    for (const socket of this.#sockets.clients) socket.terminate();
    this.http.close();
    this.http.closeAllConnections();
  }

  #upgrade(request, socket, head) {
    this.requests.push("ws");
    socket.on("error", () => {}); // the client may reset a connection that is refused
    if (this.isBlocked || this.status !== 200) {
      return socket.end(`HTTP/1.1 ${this.status === 200 ? 502 : this.status} no\r\ncontent-length: 0\r\n\r\n`);
    }
    this.#sockets.handleUpgrade(request, socket, head, (peer) => this.#peers.push(new Peer(peer, request)));
  }

  #answer(request, response) {
    this.requests.push(request.method === "POST" ? "ticket" : "sse");
    if (this.status !== 200) return response.writeHead(this.status).end();
    if (request.method !== "POST") return this.#streams.push(new Stream(request, response));
    this.lastToken = request.headers.authorization;
    this.tickets += 1;
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ ticket: `ticket-${this.tickets}` }));
  }

  /** The next WebSocket of the client. */
  peer() {
    return this.#peers.next("a WebSocket");
  }

  /** The next event stream of the client. */
  stream() {
    return this.#streams.next("an event stream");
  }
}

/** A page whose network and visibility a test changes. */
export class Page {
  window = new EventTarget();
  document = Object.assign(new EventTarget(), { visibilityState: "visible" });

  /** Dispatches `online`, `offline`, `pagehide` or `pageshow`. */
  network(type, detail = {}) {
    this.window.dispatchEvent(Object.assign(new Event(type), detail));
  }

  show() {
    this.document.dispatchEvent(new Event("visibilitychange"));
  }
}

/** A client, and what it dispatches as text. */
export class Client {
  #items = new Queue();
  #states = new Queue();
  clock = new Clock();
  page = new Page();
  hints = [];

  constructor(t, server, options = {}) {
    const { now, monotonic, setTimeout, clearTimeout } = this.clock;
    const token = ({ refused }) => `token-${this.hints.push(refused)}`;
    this.events = new CommsEvents(server.url, {
      token, now, monotonic, setTimeout, clearTimeout, random: () => 0.5, ...this.page, ...options,
    });
    this.#on("event", ({ topic, offset }) => `event ${topic} ${offset ?? "-"}`);
    this.#on("missed", ({ topic, reason }) => `missed ${topic} ${reason}`);
    this.#on("topic", ({ change, topic, reason }) => [change, topic, reason].filter(Boolean).join(" "));
    this.events.addEventListener("state", ({ detail }) => this.#states.push(detail));
    t.after(() => this.events.close());
    this.clock.advance(0);
  }

  #on(type, text) {
    this.events.addEventListener(type, ({ detail }) => this.#items.push(text(detail)));
  }

  /** Returns the next items of topics. */
  async items(count) {
    const items = [];
    while (items.length < count) items.push(await this.#items.next("an item"));
    return items;
  }

  /** Returns the next state that is `state`. */
  async state(state) {
    for (;;) {
      const detail = await this.#states.next(`the state ${state}`);
      if (detail.state === state) return detail;
    }
  }

  /** Waits for the end of a connection, and moves the clock to the next attempt. */
  async retry() {
    const detail = await this.state("waiting");
    this.clock.advance(detail.retryIn);
    return detail;
  }
}

export const topic = (cursor, more = {}) => ({ topic: cursor.split(":")[0], cursor, ...more });
