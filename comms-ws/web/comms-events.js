// A client of the protocol comms.v1 for browsers: WebSocket, with server-sent events where WebSockets are blocked.
//
//   const events = new CommsEvents("/v1/events", { token: () => session.token(), topics: ["news"] });
//   events.addEventListener("event", ({ detail }) => show(detail.topic, detail.data));
//   events.addEventListener("missed", ({ detail }) => readStateAgain(detail.topic));
//
// `comms-events.d.ts` documents the options and the events. The module needs no other one and no build step.

const SUBPROTOCOL = "comms.v1";
/** The characters of an HTTP token, of which a subprotocol consists. JSON Web Tokens have no others. */
const HTTP_TOKEN = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/;
/** The maximum length of the query with further topics. Proxies refuse URLs of more than 8 KiB. */
const MAX_QUERY = 4096;
/** The maximum length of the tokens in the query of a WebSocket of topics that the server subscribes by itself. */
const MAX_CURSOR = 6144;
/** The maximum length of the URL of an event stream, whose topics and cursor are all in the query. */
const MAX_STREAM_URL = 7000;
/** The rate of frames to the server: 25 at once, then one each 200 ms. Servers accept 10 a second. */
const PACE = { interval: 200, burst: 25 };
/** The token source is asked for a new token once in this time, until the server accepts a token. */
const REPLACE_INTERVAL = 300_000;
/** The time after which the client acknowledges what the page has handled of topics with a window. */
const ACK_DELAY = 200;
/** The maximum length of the cursor of an acknowledgement. Servers accept frames of 4 KiB. */
const MAX_ACK = 3072;
const MAX_WINDOW = 1000;
/** A connection of this age was stable: the backoff begins anew. */
const STABLE = 10_000;
/** A token is refreshed this long before it expires, or in the last quarter of its time if that is shorter. */
const EARLY = 60_000;
/** The time limit for the answer to a ping after the page was hidden or the network has changed. */
const PONG_LIMIT = 5_000;
/** The time in which a page that was frozen reads the frames that have arrived meanwhile. */
const SETTLE = 1_000;
/** The longest wait that a server may request. */
const MAX_WAIT = 300_000;
/** The longest time of a timer. `setTimeout` ends a longer one at once. */
const MAX_TIMER = 2 ** 31 - 1;
/** The WebSockets that must fail in a row, without a `welcome` before, until the client falls back to SSE. */
const BLOCKED_AFTER = 2;
/** As above, for a client that has had a WebSocket: the server is away more often than a network begins to block. */
const BLOCKED_LATER = 8;
/**
 * The advice for the close codes after which a new connection would fail in the same way. Before `welcome`, the codes
 * below 4000 are those of a proxy.
 */
const FINAL = {
  1002: "the client and the server disagree about the protocol: update the older one",
  1003: "the client and the server disagree about the protocol: update the older one",
  1007: "the client and the server disagree about the protocol: update the older one",
  1008: "the client sent too many frames: subscribe and unsubscribe less often",
  1009: "a frame was too long: use shorter topics and filters",
  4409: "a newer session of this user has replaced this one: connect again only at the user's request",
  4403: "the token does not allow events: get access for its user",
};
const TOKEN_REFUSED = 4401;
const REPLACED = 4409;

/** Why a connection ended. `code` is the close code or the HTTP status, 0 if there is none. */
class Failure extends Error {
  constructor(message, { code = 0, isFinal = false, retryAfter = 0 } = {}) {
    super(message);
    Object.assign(this, { name: "Failure", code, isFinal, retryAfter });
  }

  static closed(code, reason, { retryAfter = 0, isProxy = false } = {}) {
    const isFinal = Object.hasOwn(FINAL, code) && !isProxy;
    const advice = isFinal ? `: ${FINAL[code]}` : "";
    return new Failure(`closed with ${code} ${JSON.stringify(reason ?? "")}${advice}`, { code, isFinal, retryAfter });
  }
}

const encode = (text) =>
  encodeURIComponent(text)
    .replace(/[!*'()]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
    .replace(/%2F|%3A|%2C/g, decodeURIComponent);

const isOffset = (value) => Number.isSafeInteger(value) && value >= 0;

/** Reads `topic:epoch:offset:mac`. The text is presented to the server unchanged. */
function parseToken(text) {
  const parts = /^([^:,~]+):([0-9a-fA-F]{1,16}):(\d+):([^:,~]+)$/.exec(text);
  if (!parts || !isOffset(Number(parts[3]))) throw new Error(`the cursor token ${JSON.stringify(text)} is malformed`);
  return { text, epoch: BigInt(`0x${parts[2]}`), offset: Number(parts[3]) };
}

const parseCursor = (cursor) => (cursor == null ? null : parseToken(cursor));
const placeAt = (token) => ({ token, reached: token?.offset ?? 0 });
const hasSameEpoch = (one, other) => one.token !== null && other.token !== null && one.token.epoch === other.token.epoch;

function placeCursor({ token, reached }) {
  if (token === null) return null;
  return reached > token.offset ? `${token.text}~${reached}` : token.text;
}

/** The place after a loss: that of `token`, but never an earlier offset of the same epoch. */
function skipTo(place, token) {
  const next = placeAt(token);
  if (place && hasSameEpoch(place, next)) next.reached = Math.max(next.reached, place.reached);
  return next;
}

/**
 * The place after the server resumed at `place`, or null. A token ahead of the client is not taken: its events are on
 * their way.
 */
function resumeAt(place, token) {
  if (!place.token || !token || place.token.epoch !== token.epoch) return null;
  return { token: token.offset <= place.reached ? token : place.token, reached: place.reached };
}

const hasFilter = ({ events, keys }) => events.length + keys.length > 0;
/** Whether a frame has to subscribe: the query names topics alone. */
const needsFrame = (wanted) => hasFilter(wanted) || wanted.window !== undefined;

function subscription(wanted) {
  const { topic, events = [], keys = [], window } = typeof wanted === "string" ? { topic: wanted } : wanted;
  if (typeof topic !== "string" || topic === "") throw new TypeError("a topic is a text that is not empty");
  if (window !== undefined && !(Number.isInteger(window) && window >= 1 && window <= MAX_WINDOW)) {
    throw new TypeError(`the window of a topic is a whole number from 1 to ${MAX_WINDOW}`);
  }
  encode(topic); // throws for a text that is not Unicode
  return { topic, events: [...events], keys: [...keys], window };
}

function passes({ events, keys }, frame) {
  return (events.length === 0 || events.includes(frame.event)) && (keys.length === 0 || keys.includes(frame.key));
}

/**
 * The topics of a client: what the page wants, where the client stands, and what each frame changes. Without input and
 * output; `src/client/state/` of the Rust client does the same, and both run the cases of `src/client/vectors.json`.
 */
export class Topics {
  #places = new Map();
  #wanted = new Map();
  /** The topics that the server subscribes at the start of a connection: its own, and those of the query. */
  #granted = new Set();
  /** The granted topics that the page does not want. */
  #unwanted = new Set();
  /** The topics of the last query. The server answers each in `welcome` or by an error. */
  #asked = new Set();
  /** The topics whose tokens did not fit into the last query. */
  #leftOut = new Set();
  /** The topic of the current session alone. The next session has another one. */
  #own = "";
  /** The topics that the current session has joined. */
  #joined = new Set();
  /** The joined topics whose filter the server has not confirmed since `welcome`. The page learns of no change by that. */
  #unfiltered = new Set();
  /** The topics whose offsets have gaps by design. */
  #sparse = new Set();
  /** The topics whose permission the server could not look up. */
  #unavailable = new Set();
  /** The places of the cursor whose topics the last `welcome` left out. */
  #dropped = new Map();
  /** The windows that the server has confirmed in the current session. An older server has none. */
  #windows = new Map();
  /** Whether the current session is an event stream, which has no windows. */
  #isSse = false;
  /** Changes with each call of `subscribe` and `unsubscribe`. */
  version = 0;

  constructor(wanted = [], cursor = "") {
    for (const one of wanted.map(subscription)) this.#wanted.set(one.topic, one);
    for (const text of cursor.split(",").map((part) => part.trim()).filter(Boolean)) {
      const [signed, reached = "0", ...rest] = text.split("~");
      const place = placeAt(parseToken(signed));
      if (!/^\d+$/.test(reached) || rest.length) throw new Error(`the cursor ${JSON.stringify(text)} is malformed`);
      place.reached = Math.max(place.reached, Number(reached));
      this.#places.set(decodeURIComponent(signed.split(":")[0]), place);
    }
    this.#granted = new Set(this.#places.keys());
  }

  /** The cursor of all topics with history, for a later client. */
  get cursor() {
    return [...this.#places.values()].map(placeCursor).filter(Boolean).sort().join(",");
  }

  /**
   * Returns the query of a connection. The server joins each topic of the cursor without a filter and a window. A granted
   * topic with a filter is resumed in this way too, because the server ignores the cursor of a frame for a topic that the
   * session has joined. `isSse`: all topics are in the query, because frames cannot be sent. Tokens that would make it
   * longer than `limit` are left out from the end: their topics are not resumed, which `welcome` reports as missed.
   */
  query(isSse = false, limit = Infinity) {
    const token = (topic) => (this.#places.has(topic) ? placeCursor(this.#places.get(topic)) : null);
    const isNamed = (one) => isSse || !needsFrame(one);
    const isCursorAlone = (topic) => {
      const one = this.#wanted.get(topic);
      return one === undefined || (!isNamed(one) && one.window === undefined);
    };
    const granted = [...this.#granted].filter((topic) => isCursorAlone(topic) && topic !== this.#own);
    const cursors = [];
    const topics = granted.sort().filter((topic) => token(topic) !== null);
    for (const topic of topics) {
      const cursor = encode(token(topic));
      if (!isSse && [...cursors, cursor].join(",").length >= MAX_CURSOR) break;
      cursors.push(cursor);
    }
    const room = cursors.length;
    const wanted = [...this.#wanted.values()].filter(isNamed).map(({ topic }) => topic);
    const pairs = [];
    let length = cursors.join(",").length;
    this.#asked.clear();
    for (const topic of wanted.sort()) {
      const pair = `topic=${encode(topic)}`;
      const cursor = [token(topic)].filter(Boolean).map(encode);
      length += `${pair}&${cursor},`.length;
      if (length > MAX_QUERY && !isSse) break;
      pairs.push(pair);
      cursors.push(...cursor);
      this.#asked.add(topic);
      this.#granted.add(topic);
    }
    const text = () => [...pairs, ...(cursors.length ? [`cursor=${cursors.join(",")}`] : [])].join("&");
    while (cursors.length && text().length > limit) cursors.pop();
    if (text().length > limit) {
      const advice = "subscribe to fewer topics, or use shorter ones";
      const message = `the URL of the event stream would have more than ${MAX_STREAM_URL} characters: ${advice}`;
      throw new Failure(message, { isFinal: true });
    }
    this.#leftOut = new Set(topics.slice(Math.min(room, cursors.length)));
    return text();
  }

  /** Takes `welcome`. Returns the items for the page, and the frames to send. */
  welcome({ session, topics = [], pending = [] }, isSse = false) {
    // A malformed frame changes nothing: another connection may be in use.
    for (const { topic, cursor } of topics) {
      if (typeof topic !== "string") throw new Error("a topic of `welcome` is no text");
      parseCursor(cursor);
    }
    // A frame confirms or refuses each pending topic later.
    const given = new Set([...topics.map(({ topic }) => topic), ...pending]);
    const items = [];
    this.#own = `session/${session}`;
    this.#isSse = isSse;
    this.#windows.clear();
    this.#sparse.clear();
    this.#joined.clear();
    this.#unfiltered.clear();
    this.#unavailable.clear();
    this.#dropped.clear();
    this.#unwanted = new Set([...this.#unwanted].filter((topic) => given.has(topic)));
    for (const topic of topics) {
      // A topic with a window begins with the answer to its frame.
      if (!this.#unwanted.has(topic.topic) && !this.#wantsWindow(topic.topic)) items.push(...this.#place(topic));
    }
    // The server has not seen the tokens of these topics: the client subscribes by name, if it can send frames.
    for (const topic of isSse ? [] : this.#leftOut) {
      if (!given.has(topic) && !this.#wanted.has(topic)) this.#wanted.set(topic, subscription(topic));
    }
    const isAddressable = given.has(this.#own);
    for (const topic of [...this.#places.keys()]) {
      if (given.has(topic) || this.#wanted.has(topic)) continue;
      this.#dropped.set(topic, this.#places.get(topic));
      this.#places.delete(topic);
      // The topic of an earlier session has ended with that session.
      const isOwn = isAddressable && topic.startsWith("session/");
      const reason = this.#leftOut.has(topic) ? "too_many_topics" : "forbidden";
      items.push({ kind: "unsubscribed", topic, ...(!isOwn && { reason }) });
    }
    this.#leftOut.clear();
    this.#granted = given;
    if (isSse) return { items, frames: [] };
    const isJoined = (topic) => given.has(topic) || this.#asked.has(topic);
    const rest = [...this.#wanted.values()].filter((one) => needsFrame(one) || !isJoined(one.topic));
    this.#unfiltered = new Set(rest.map(({ topic }) => topic).filter((topic) => this.#joined.has(topic)));
    const leave = [...this.#unwanted].map((topic) => ({ type: "unsubscribe", topic }));
    return { items, frames: [...leave, ...rest.map((one) => this.#subscribeFrame(one))] };
  }

  #subscribeFrame({ topic, events, keys, window }) {
    const cursor = this.#places.has(topic) ? placeCursor(this.#places.get(topic)) : null;
    const filter = { ...(events.length && { events }), ...(keys.length && { keys }) };
    return {
      type: "subscribe",
      topic,
      ...(cursor !== null && { cursor }),
      ...(events.length + keys.length && { filter }),
      ...(window !== undefined && { window }),
    };
  }

  /** Adds a topic, or replaces its filter. Returns the frame. */
  subscribe(wanted) {
    const one = subscription(wanted);
    this.version += 1;
    this.#unwanted.delete(one.topic);
    this.#unfiltered.delete(one.topic);
    this.#wanted.set(one.topic, one);
    if (this.#wantsWindow(one.topic)) this.#joined.delete(one.topic);
    return this.#subscribeFrame(one);
  }

  #wantsWindow(topic) {
    return !this.#isSse && this.#wanted.get(topic)?.window !== undefined;
  }

  /**
   * Returns whether frames of `topic` belong to an earlier subscription. The server begins one with a window anew, after
   * the position of its frame.
   */
  #isOutdated(topic) {
    return this.#wantsWindow(topic) && !this.#joined.has(topic);
  }

  /** Returns the acknowledgement of all items of `topic` up to now, if the topic has a window. */
  #ack(topic) {
    const window = this.#windows.get(topic);
    const cursor = window ? placeCursor(this.#places.get(topic)) : null;
    return cursor === null ? null : { topic, window, cursor };
  }

  /** Removes a topic. Later events of it are discarded. Returns the frame. */
  unsubscribe(topic) {
    this.version += 1;
    if (this.#granted.has(topic)) this.#unwanted.add(topic);
    this.#forget(topic);
    return { type: "unsubscribe", topic };
  }

  #forget(topic) {
    this.#wanted.delete(topic);
    this.#joined.delete(topic);
    this.#places.delete(topic);
    this.#windows.delete(topic);
    this.#unavailable.delete(topic);
    this.#dropped.delete(topic);
    this.#leftOut.delete(topic);
  }

  /** Whether `resubscribe` has topics. */
  get hasUnavailable() {
    return this.#unavailable.size > 0;
  }

  /** Returns the frames that subscribe again to the topics whose permission the server could not look up. */
  resubscribe() {
    const topics = [...this.#unavailable];
    this.#unavailable.clear();
    return topics.map((topic) => this.#subscribeFrame(this.#wanted.get(topic)));
  }

  /** Keeps the topic and its place, for `resubscribe`. */
  #postpone(topic) {
    const dropped = this.#dropped.get(topic);
    if (dropped) {
      this.#places.set(topic, dropped);
      this.#dropped.delete(topic);
    }
    // A topic of the cursor alone. From now on the client asks for it by name.
    if (this.#places.has(topic) && !this.#wanted.has(topic)) this.#wanted.set(topic, subscription(topic));
    if (this.#wanted.has(topic)) this.#unavailable.add(topic);
  }

  #error({ code, detail }) {
    if (code === "unavailable") {
      this.#postpone(detail);
      return [];
    }
    const isRefusal = ["forbidden", "too_many_topics", "no_history"].includes(code);
    if (isRefusal && !this.#wanted.has(detail)) {
      // A topic of the cursor alone. Unless it was pending, `welcome` has shown the refusal.
      if (!this.#places.has(detail)) return [];
      this.#forget(detail);
      return [{ kind: "unsubscribed", topic: detail, reason: "forbidden" }];
    }
    if (isRefusal) this.#forget(detail);
    return [{ kind: "refused", code, topic: detail }];
  }

  /** Takes a frame about a topic. Returns the items for the page. Throws if the frame is malformed. */
  take(frame) {
    switch (frame.type) {
      case "event":
        return this.#event(frame);
      case "subscribed":
        return this.#expects(frame.topic) ? this.#place(frame) : [];
      case "missed":
        if (!this.#expects(frame.topic) || this.#isOutdated(frame.topic)) return [];
        this.#places.set(frame.topic, skipTo(this.#places.get(frame.topic), parseCursor(frame.cursor)));
        return [{ kind: "missed", topic: frame.topic, reason: frame.reason, ack: this.#ack(frame.topic) }];
      case "unsubscribed":
        // The answer to `unsubscribe` has no reason. The page may have subscribed again since then.
        if (frame.reason) this.#forget(frame.topic);
        return [{ kind: "unsubscribed", topic: frame.topic, reason: frame.reason }];
      case "error":
        return this.#error(frame);
      default:
        return [];
    }
  }

  /** Returns whether the session can have joined `topic`. A frame may come after `unsubscribe`. */
  #expects(topic) {
    return this.#wanted.has(topic) || (this.#granted.has(topic) && !this.#unwanted.has(topic));
  }

  #event(frame) {
    const { topic, offset } = frame;
    const place = this.#places.get(topic);
    if (!place || this.#isOutdated(topic)) return []; // after `unsubscribe` or `subscribe`
    const wanted = this.#wanted.get(topic);
    const items = [];
    if (offset !== undefined) {
      if (!isOffset(offset)) throw new Error(`the offset of an event of ${topic} is malformed`);
      if (offset <= place.reached) return [];
      const isGap = place.token !== null && offset > place.reached + 1;
      place.reached = offset;
      const isSparse = this.#sparse.has(topic) || (wanted && hasFilter(wanted));
      if (isGap && !isSparse) items.push({ kind: "missed", topic, reason: "gap" });
    }
    // An event stream has no filters, and neither has a topic of the query until the server confirms its frame.
    if (!wanted || passes(wanted, frame)) items.push({ kind: "event", frame, ack: this.#ack(topic) });
    return items;
  }

  /** Begins, resumes or skips: what the server says about the position of a topic that is subscribed now. Returns items. */
  #place({ topic, cursor, recovered, sparse, window }) {
    if (sparse) this.#sparse.add(topic);
    else this.#sparse.delete(topic);
    if (window) this.#windows.set(topic, window);
    else this.#windows.delete(topic);
    const token = parseCursor(cursor);
    const before = this.#places.get(topic);
    const resumed = before && recovered === true ? resumeAt(before, token) : null;
    // After `false` the events follow the token, also those of a lower offset than that of a stored cursor, which the server
    // did not accept.
    const place = resumed ?? (recovered === false ? placeAt(token) : skipTo(before, token));
    // The filter has changed: the events up to the token have arrived or did not pass.
    const isChange = this.#joined.has(topic) && recovered === undefined;
    const isOwn = this.#unfiltered.delete(topic);
    this.#joined.add(topic);
    this.#places.set(topic, place);
    // Two calls of `subscribe` in a row can make the server begin before the position of the client. The window would fill
    // with events that the client discards and never acknowledges.
    if (this.#wantsWindow(topic) && token !== null && token.offset < place.reached) {
      this.#joined.delete(topic);
      this.#unavailable.add(topic);
    }
    if (isOwn && (resumed || isChange)) return [];
    if (resumed) return [{ kind: "recovered", topic }];
    if (!before || isChange) return [{ kind: "subscribed", topic }];
    const hasEpoch = before.token === null || hasSameEpoch(before, place);
    const reason = token === null ? "no_history" : hasEpoch ? "history" : "epoch";
    return [{ kind: "missed", topic, reason }];
  }
}

/** An event of the client. Its listeners can delay the acknowledgement of what it brings. */
class CommsEvent extends CustomEvent {
  #isDispatched = false;
  /** What the listeners wait for. */
  promises = [];

  /** Handles the event when `promise` settles. Called while the event is dispatched. */
  waitUntil(promise) {
    if (this.#isDispatched) throw new Error("waitUntil was called after the event was dispatched");
    this.promises.push(promise);
  }

  end() {
    this.#isDispatched = true;
  }
}

/** What the page has handled of the topics with a window, on one connection. */
class Handled {
  #connection;
  /** For each topic, the items that are not acknowledged, in their order. */
  #topics = new Map();
  #isPlanned = false;

  constructor(connection) {
    this.#connection = connection;
  }

  /** Takes an item, which is handled when `promises` have settled. */
  add({ topic, window, cursor }, promises) {
    const open = this.#topics.get(topic) ?? { items: [], handled: 0, cursor: null };
    this.#topics.set(topic, open);
    const item = { cursor, isHandled: promises.length === 0 };
    open.items.push(item);
    if (item.isHandled) return this.#advance(open, window);
    Promise.allSettled(promises).then(() => {
      item.isHandled = true;
      // A topic that was left meanwhile is not acknowledged.
      if (this.#topics.get(topic) === open) this.#advance(open, window);
    });
  }

  /** Discards the progress of a topic that was left: its token would take the place of another in the acknowledgement. */
  forget(topic) {
    this.#topics.delete(topic);
  }

  /** An item is acknowledged when all items before it are handled too. */
  #advance(open, window) {
    if (this.#connection.isEnded) return;
    while (open.items[0]?.isHandled) {
      open.cursor = open.items.shift().cursor;
      open.handled += 1;
    }
    if (open.handled >= Math.ceil(window / 2)) this.#flush();
    else if (open.handled) this.#later();
  }

  #later() {
    if (this.#isPlanned) return;
    this.#isPlanned = true;
    this.#connection.timer(ACK_DELAY, () => {
      this.#isPlanned = false;
      this.#flush();
    });
  }

  /** Acknowledges. While other frames wait for their turn, this one does as well, and covers more then. */
  #flush() {
    if (this.#connection.hasUnsent) return this.#later();
    const cursors = [];
    for (const open of [...this.#topics.values()].filter(({ handled }) => handled)) {
      const last = cursors.at(-1);
      if (last && last.length + open.cursor.length < MAX_ACK) cursors.push(`${cursors.pop()},${open.cursor}`);
      else cursors.push(open.cursor);
      open.handled = 0;
    }
    for (const cursor of cursors) this.#connection.send({ type: "ack", cursor });
  }
}

/**
 * One connection over either transport. Calls `on.welcome`, `on.frame`, and at last `on.end` with a `Failure`, which is
 * null after `close`.
 */
class Connection {
  #env;
  #on;
  #socket = null;
  #timers = new Set();
  #outgoing = [];
  /** The time at which the frames that were sent are used up, see `PACE`. */
  #busyUntil = 0;
  #lastRead = 0;
  /** The number of frames that were read. */
  #reads = 0;
  #interval = 0;
  #isWatched = false;
  #token;
  /** The end of the session on the monotonic clock, if there is one. */
  #expires = Infinity;
  isEnded = false;
  isWelcome = false;
  /** Whether the server was asked: the token source has returned a token, or there is none. */
  isRequested = false;
  handled = new Handled(this);

  constructor(transport, env, on) {
    Object.assign(this, { transport, began: env.monotonic() });
    this.#env = env;
    this.#on = on;
  }

  /**
   * Opens the connection. `query` is called with its maximum length after the token has arrived, so that the cursor is
   * the latest.
   */
  async open({ url, query, token, refused, connectTimeout }) {
    this.#token = token;
    this.timer(connectTimeout, () => this.end(new Failure("not opened within the time limit")));
    try {
      const secret = token ? await token({ refused }) : null;
      if (this.isEnded) return;
      this.isRequested = true;
      if (this.transport === "ws") this.#openSocket(url, query, secret);
      else await this.#openStream(url, query, secret);
    } catch (error) {
      const isFinal = error?.isFinal === true;
      this.end(error instanceof Failure ? error : new Failure(String(error?.message ?? error), { isFinal }));
    }
  }

  #openSocket(url, query, secret) {
    if (secret !== null && !HTTP_TOKEN.test(secret)) {
      throw new Failure("the access token has characters that a subprotocol cannot have", { isFinal: true });
    }
    const protocols = secret === null ? [SUBPROTOCOL] : [SUBPROTOCOL, `bearer.${secret}`];
    const socket = new this.#env.WebSocket(address(url, "ws", query()), protocols);
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#read(data);
    // A browser does not show why a handshake was refused: the code is 1006. Not every environment reports the close
    // after an error.
    socket.onerror = () => this.end(Failure.closed(1006, "the WebSocket failed"));
    socket.onclose = ({ code, reason }) => {
      const isProxy = !this.isWelcome && code < 4000;
      this.end(Failure.closed(code, reason, { isProxy }));
    };
  }

  async #openStream(url, query, secret) {
    const ticket = secret === null ? "" : `ticket=${encode(await this.#ticket(url, secret))}`;
    if (this.isEnded) return;
    const limit = MAX_STREAM_URL - address(url, "http", ticket).length - 1;
    const text = [ticket, query(limit)].filter(Boolean).join("&");
    const stream = new this.#env.EventSource(address(url, "http", text));
    this.#socket = stream;
    stream.onmessage = ({ data }) => this.#read(data);
    // The stream would reconnect by itself, with a ticket that was used.
    stream.onerror = () => this.end(new Failure("the event stream ended or was refused"));
  }

  /** Exchanges the token for a one-time ticket, because an event stream has no headers. */
  async #ticket(url, secret) {
    const options = { method: "POST", headers: { authorization: `Bearer ${secret}` }, cache: "no-store" };
    const response = await this.#env.fetch(address(url, "http", "", "/ticket"), options);
    if (!response.ok) {
      const { status: code } = response;
      const retryAfter = (Number(response.headers.get("retry-after")) || 0) * 1000;
      const isFinal = code === 403;
      const advice = isFinal ? `: ${FINAL[4403]}` : "";
      throw new Failure(`status ${code} for the ticket${advice}`, { code, isFinal, retryAfter });
    }
    const { ticket } = await response.json();
    if (typeof ticket !== "string") throw new Failure("the server sent no ticket");
    return ticket;
  }

  #read(data) {
    if (this.isEnded) return;
    this.#lastRead = this.#env.monotonic();
    this.#reads += 1;
    try {
      const frame = JSON.parse(data);
      if (typeof frame?.type !== "string") throw new Error("it has no type");
      if (frame.type === "close") {
        return this.end(Failure.closed(frame.code, frame.reason, { retryAfter: frame.retry_ms ?? 0 }));
      }
      if (this.isWelcome) {
        if (frame.type === "ping") this.#watch();
        if (frame.type === "refreshed") this.#setExpiry(frame);
        return this.#on.frame(this, frame);
      }
      if (frame.type !== "welcome") throw new Error("the first frame of the server is no `welcome`");
      this.#welcome(frame);
    } catch (error) {
      this.end(new Failure(`malformed frame: ${error.message}`));
    }
  }

  #welcome(frame) {
    this.isWelcome = true;
    this.#clearTimers();
    this.#setExpiry(frame);
    this.#interval = Math.min(Math.max(Number(frame.ping_seconds) || 30, 1), 3600) * 1000;
    // A server that sends no pings on event streams would be given up: the first one starts the watch there.
    if (this.transport === "ws") this.#watch();
    this.#on.welcome(this, frame);
  }

  #watch() {
    if (this.#isWatched) return;
    this.#isWatched = true;
    this.#waitForSilence(this.transport === "ws" ? this.#interval : 2 * this.#interval);
  }

  /**
   * Waits until no frame was read for `limit`. The browser may call timers late, so a late timer alone proves nothing:
   * only a ping without an answer does. An event stream cannot be asked.
   */
  #waitForSilence(limit) {
    const silent = () => this.#env.monotonic() - this.#lastRead;
    const again = () => this.#waitForSilence(limit);
    this.timer(limit - silent(), () => {
      if (silent() < limit) return again();
      if (this.transport !== "ws") return this.#expectFrame(SETTLE, "no frame within two ping intervals", again, true);
      this.send({ type: "ping" });
      this.#expectFrame(limit, "no frame within two ping intervals", again);
    });
  }

  /** Ends the connection unless a frame arrives within `limit`. */
  #expectFrame(limit, message, then, isLast = false) {
    const reads = this.#reads;
    const due = this.#env.monotonic() + limit;
    this.timer(limit, () => {
      if (this.#reads !== reads) return then();
      // The timers of a page that was frozen may run before its frames are read.
      const isLate = this.#env.monotonic() >= due + SETTLE;
      if (isLast || !isLate) return this.end(new Failure(message));
      this.#expectFrame(SETTLE, message, then, true);
    });
  }

  /** Ends the connection unless the server answers soon. An event stream cannot be asked. */
  probe() {
    if (this.transport !== "ws") return;
    this.send({ type: "ping" });
    this.#expectFrame(PONG_LIMIT, "no answer to a ping", () => {});
  }

  /** Takes the end of the session: relative, because the clocks of the page and the server differ, else absolute. */
  #setExpiry({ expires, expires_in: seconds }) {
    let left = Infinity;
    if (Number.isFinite(seconds)) left = seconds * 1000;
    else if (Number.isFinite(expires)) left = expires * 1000 - this.#env.now();
    this.#expires = this.#env.monotonic() + left;
    this.#scheduleRefresh();
  }

  /** Gets a new token before the session expires, and again after a failure: each time in the last quarter of the rest. */
  #scheduleRefresh() {
    const left = this.#expires - this.#env.monotonic();
    if (!Number.isFinite(left) || left < 1000 || !this.#token) return;
    this.timer(left - Math.min(EARLY, left / 4), () => this.#refresh());
  }

  async #refresh() {
    if (this.transport === "sse") return this.#on.replace();
    try {
      const token = await this.#token({ refused: false });
      if (!this.isEnded) this.send({ type: "refresh", token });
    } catch {
      this.refreshAgain();
    }
  }

  refreshAgain() {
    if (!this.isEnded) this.#scheduleRefresh();
  }

  /** Sends a frame at the pace that the server accepts. */
  send(frame) {
    this.#outgoing.push(JSON.stringify(frame));
    if (this.#outgoing.length === 1) this.#flush();
  }

  /** Whether frames wait for their turn. */
  get hasUnsent() {
    return this.#outgoing.length > 0;
  }

  #flush() {
    while (this.#outgoing.length && !this.isEnded) {
      const now = this.#env.monotonic();
      const busyUntil = Math.max(this.#busyUntil, now);
      const wait = busyUntil - now - PACE.interval * (PACE.burst - 1);
      if (wait > 0) return void this.timer(wait, () => this.#flush());
      this.#busyUntil = busyUntil + PACE.interval;
      this.#socket.send(this.#outgoing.shift());
    }
  }

  timer(wait, call) {
    const id = this.#env.setTimeout(() => {
      this.#timers.delete(id);
      call();
    }, Math.min(wait, MAX_TIMER));
    this.#timers.add(id);
  }

  #clearTimers() {
    for (const id of this.#timers) this.#env.clearTimeout(id);
    this.#timers.clear();
  }

  /** Ends the connection once. The socket is not waited for: on a dead network it closes only after minutes. */
  end(failure) {
    if (this.isEnded) return;
    this.isEnded = true;
    this.#clearTimers();
    const socket = this.#socket;
    if (socket) {
      socket.onmessage = socket.onclose = null;
      // A socket that is closed while it connects reports an error.
      socket.onerror = () => {};
      socket.close(1000);
    }
    this.#on.end(this, failure);
  }

  close() {
    this.end(null);
  }
}

function address(url, scheme, query, suffix = "") {
  const result = new URL(url, globalThis.location?.href);
  const isSecure = result.protocol === "https:" || result.protocol === "wss:";
  result.protocol = isSecure ? `${scheme}s:` : `${scheme}:`;
  result.pathname += suffix;
  if (suffix) result.search = "";
  if (query) result.search += `${result.search ? "&" : "?"}${query}`;
  return result.href;
}

/** What the client uses of the browser. Each part can be replaced, for tests. */
const browser = () => ({
  WebSocket: globalThis.WebSocket,
  EventSource: globalThis.EventSource,
  fetch: (...call) => globalThis.fetch(...call),
  setTimeout: (...call) => globalThis.setTimeout(...call),
  clearTimeout: (id) => globalThis.clearTimeout(id),
  now: () => Date.now(),
  monotonic: () => globalThis.performance.now(),
  random: () => Math.random(),
  window: globalThis.window ?? null,
  document: globalThis.document ?? null,
});

/** A client that stays connected and dispatches `event`, `missed`, `topic` and `state`. */
export class CommsEvents extends EventTarget {
  #url;
  #options;
  #env;
  #topics;
  #current = null;
  /** The next connection, which may be opened while the current one is still in use. */
  #opening = null;
  /**
   * The failure of a connection that was replaced (4409) while the next one was opened or planned, which may have replaced
   * it: it ends the client if the next one fails.
   */
  #displaced = null;
  /** The timer of the next attempt: `{ id, at }`. */
  #planned = null;
  #probeTimer = null;
  #replaceTimer = null;
  #failures = 0;
  /** Whether the next call of the token source has `refused: true`. */
  #refused = false;
  /** The time of the last token that was got with `refused: true`, unless the server has accepted one since then. */
  #replaced = -Infinity;
  /** WebSockets in a row that ended before `welcome`, without a code of the server. */
  #blocked = 0;
  #hadSocket = false;
  #resubscribeTimer = null;
  /** The calls of `resubscribe` since a topic was subscribed. */
  #resubscribed = 0;
  #state = "connecting";
  #listeners = [];

  constructor(url, options = {}) {
    super();
    const { token = null, topics = [], cursor = "", connectTimeout = 15_000, socketRetry = 300_000, ...env } = options;
    const backoff = { base: 500, cap: 30_000, ...options.backoff };
    this.#url = String(url);
    this.#options = { token, connectTimeout, socketRetry, backoff };
    this.#env = { ...browser(), ...env };
    this.#topics = new Topics(topics, cursor);
    this.#listen(this.#env.window, "online", () => this.#networkChanged());
    this.#listen(this.#env.window, "offline", () => this.#interrupt("the browser is offline"));
    this.#listen(this.#env.window, "pagehide", () => this.#leave());
    this.#listen(this.#env.window, "pageshow", ({ persisted }) => persisted && this.reconnect());
    this.#listen(this.#env.document, "visibilitychange", () => {
      if (this.#isHidden) this.#hide();
      else this.#show();
    });
    // The caller adds its listeners first.
    this.#plan(0);
  }

  #listen(target, type, call) {
    if (!target?.addEventListener) return;
    target.addEventListener(type, call);
    this.#listeners.push(() => target.removeEventListener(type, call));
  }

  get state() {
    return this.#state;
  }

  /** The transport of the open connection: `ws`, `sse` or null. */
  get transport() {
    return this.#current?.transport ?? null;
  }

  /** The position after the last event, for the option `cursor` of a later client. */
  get cursor() {
    return this.#topics.cursor;
  }

  subscribe(topic) {
    this.#changed(this.#topics.subscribe(topic));
  }

  unsubscribe(topic) {
    this.#current?.handled.forget(topic);
    this.#changed(this.#topics.unsubscribe(topic));
  }

  #changed(frame) {
    if (this.#current?.transport === "ws") this.#current.send(frame);
    if (this.#current?.transport === "sse") this.#replace();
  }

  /** Ends a wait for the next attempt. An open connection is closed unless the server answers soon. */
  reconnect() {
    if (this.#isEnded) return;
    if (this.#current) return this.#current.probe();
    this.#failures = 0;
    if (!this.#opening) this.#plan(0);
  }

  close() {
    if (!this.#isEnded) this.#finish("closed");
  }

  get #isEnded() {
    return this.#state === "closed" || this.#state === "failed";
  }

  #finish(state, error = null) {
    this.#listeners.forEach((remove) => remove());
    this.#cancel();
    for (const timer of [this.#probeTimer, this.#replaceTimer, this.#resubscribeTimer]) this.#env.clearTimeout(timer);
    const [current, opening] = [this.#current, this.#opening];
    this.#current = this.#opening = null;
    this.#enter(state, { error });
    current?.close();
    opening?.close();
  }

  /** A new network may block or allow WebSockets, whatever the old one did. */
  #networkChanged() {
    this.#blocked = 0;
    this.#hadSocket = false;
    // An attempt on the old network may end only at its time limit.
    if (!this.#current) this.#interrupt("the network has changed");
    if (this.#current?.transport === "sse") return this.#attempt("ws");
    this.reconnect();
  }

  get #isHidden() {
    return this.#env.document?.visibilityState === "hidden";
  }

  #hide() {
    if (this.#opening) this.#opening.wasHidden = true;
  }

  #show() {
    // The browser or the system may have cut the network of a hidden page: its attempt may end only at the time limit. The
    // token source is not asked again before it has answered.
    const { wasHidden = false, isRequested = false } = this.#opening ?? {};
    if (!this.#current && wasHidden && isRequested) this.#interrupt("the page was hidden");
    this.reconnect();
  }

  /** In the back/forward cache, the page would keep its session on the server. The next attempt follows when it is restored. */
  #leave() {
    this.#interrupt("the page was left");
    this.#cancel();
  }

  #interrupt(reason) {
    const failure = new Failure(reason);
    const blocked = this.#blocked;
    this.#displaced = null; // an attempt that was interrupted does not show that another client has replaced this one
    this.#opening?.end(failure);
    this.#current?.end(failure);
    this.#blocked = blocked; // an attempt that was interrupted shows nothing about proxies
  }

  #enter(state, detail = {}) {
    this.#state = state;
    this.#dispatch("state", { state, transport: this.transport, ...detail });
  }

  /** Returns what the listeners wait for. */
  #dispatch(type, detail) {
    const event = new CommsEvent(type, { detail });
    this.dispatchEvent(event);
    event.end();
    return event.promises;
  }

  #plan(wait) {
    this.#cancel();
    const at = this.#env.monotonic() + wait;
    const attempt = () => {
      this.#planned = null;
      this.#attempt(this.#choose());
    };
    this.#planned = { at, id: this.#env.setTimeout(attempt, wait) };
  }

  #cancel() {
    if (this.#planned) this.#env.clearTimeout(this.#planned.id);
    this.#planned = null;
  }

  #choose() {
    const isBlocked = this.#blocked >= (this.#hadSocket ? BLOCKED_LATER : BLOCKED_AFTER);
    return (isBlocked && this.#env.EventSource) || !this.#env.WebSocket ? "sse" : "ws";
  }

  #attempt(transport) {
    const isTrial = transport === "ws" && this.#current?.transport === "sse";
    // A trial leaves a draining event stream its next attempt.
    if (!isTrial) this.#cancel();
    if (this.#isEnded) return;
    this.#abandonTrial();
    if (this.#opening) return;
    const { token, connectTimeout } = this.#options;
    const connection = new Connection(transport, this.#env, {
      welcome: (one, frame) => this.#welcome(one, frame),
      frame: (one, frame) => this.#frame(one, frame),
      end: (one, failure) => this.#end(one, failure),
      replace: () => this.#replace(),
    });
    Object.assign(connection, { isTrial, refused: this.#refused, wasHidden: this.#isHidden });
    this.#opening = connection;
    if (!this.#current) this.#enter("connecting");
    const query = (limit) => {
      connection.version = this.#topics.version;
      return this.#topics.query(transport === "sse", limit);
    };
    connection.open({ url: this.#url, query, token, refused: this.#refused, connectTimeout });
  }

  /** Ends the trial of a WebSocket beside an event stream, because another connection is needed. */
  #abandonTrial() {
    const trial = this.#opening;
    if (!trial?.isTrial) return;
    this.#opening = null;
    trial.close();
    this.#tryLater();
  }

  /** Opens a connection in place of an event stream, whose topics and token cannot change. */
  #replace() {
    this.#env.clearTimeout(this.#replaceTimer);
    // Calls that follow each other make one connection.
    this.#replaceTimer = this.#env.setTimeout(() => this.#current?.transport === "sse" && this.#attempt("sse"), 20);
  }

  #welcome(connection, frame) {
    const isSse = connection.transport === "sse";
    // First, because it throws if the frame is malformed: then the old connection stays in use.
    const { items, frames } = this.#topics.welcome(frame, isSse);
    const old = this.#current;
    this.#opening = null;
    this.#current = connection;
    this.#displaced = null;
    this.#refused = false;
    this.#replaced = -Infinity;
    this.#blocked = isSse ? BLOCKED_AFTER : 0;
    this.#hadSocket = !isSse;
    old?.close();
    this.#cancel();
    this.#env.clearTimeout(this.#resubscribeTimer);
    this.#resubscribeTimer = null;
    this.#enter("open", { session: frame.session });
    frames.forEach((one) => connection.send(one));
    this.#emit(items);
    this.#env.clearTimeout(this.#probeTimer);
    if (!isSse || this.#isEnded) return; // a listener may have closed the client
    if (connection.version !== this.#topics.version) this.#replace();
    this.#tryLater();
  }

  /** Tries a WebSocket from time to time while an event stream is in use. */
  #tryLater() {
    this.#env.clearTimeout(this.#probeTimer);
    if (!this.#env.WebSocket) return;
    this.#probeTimer = this.#env.setTimeout(() => {
      if (this.#current?.transport === "sse") this.#attempt("ws");
    }, this.#options.socketRetry);
  }

  #frame(connection, frame) {
    if (connection !== this.#current) return;
    const isOpening = this.#opening !== null && !this.#opening.isTrial;
    if (frame.type === "drain" && !this.#planned && !isOpening) {
      return this.#plan(Math.min(frame.retry_ms ?? 0, MAX_WAIT));
    }
    if (frame.type === "error" && frame.code === "unauthorized") return connection.refreshAgain();
    if (frame.type === "subscribed") this.#resubscribed = 0;
    this.#emit(this.#topics.take(frame));
    if (this.#topics.hasUnavailable) this.#resubscribeLater();
  }

  #resubscribeLater() {
    if (this.#resubscribeTimer !== null || this.#isEnded) return;
    this.#resubscribeTimer = this.#env.setTimeout(() => {
      this.#resubscribeTimer = null;
      // Without a connection, the query of the next one subscribes.
      if (this.#current) this.#topics.resubscribe().forEach((frame) => this.#changed(frame));
    }, this.#backoff(this.#resubscribed));
    this.#resubscribed += 1;
  }

  #emit(items) {
    const connection = this.#current;
    for (const { kind, frame, ack, ...detail } of items) {
      if (this.#isEnded) return; // a listener has closed the client
      let promises = [];
      if (kind === "event") {
        const { topic, offset, id, event, time, key, traceparent, data } = frame;
        promises = this.#dispatch("event", { topic, offset, id, event, time, key, traceparent, data });
      } else if (kind === "missed") promises = this.#dispatch("missed", detail);
      else {
        // Before the listeners, which may subscribe again.
        if (kind === "unsubscribed" || kind === "refused") connection?.handled.forget(detail.topic);
        this.#dispatch("topic", { change: kind, ...detail });
      }
      if (ack) connection?.handled.add(ack, promises);
    }
  }

  #end(connection, failure) {
    const wasCurrent = connection === this.#current;
    if (wasCurrent) this.#current = null;
    else if (connection === this.#opening) this.#opening = null;
    else return;
    if (failure === null || this.#isEnded) return;
    if (wasCurrent && failure.code === REPLACED && this.#displace(failure)) return;
    if (this.#displaced) return this.#finish("failed", this.#displaced);
    if (wasCurrent) this.#abandonTrial();
    if (connection.isTrial && !wasCurrent) {
      // The event stream stays in use.
      this.#blocked = BLOCKED_AFTER;
      return this.#tryLater();
    }
    if (failure.isFinal) return this.#finish("failed", failure);
    if (!wasCurrent) this.#notOpened(connection, failure);
    if (wasCurrent && this.#env.monotonic() - connection.began >= STABLE) this.#failures = 0;
    this.#judgeToken(connection, failure);
    this.#retry(failure);
  }

  /**
   * Leaves the client to its next connection, if that is opened or planned: a server that ends the oldest session of a
   * user ends the first connection of this client for its second one. Returns `false` if there is none.
   */
  #displace(failure) {
    if (!this.#opening && !this.#planned) return false;
    this.#displaced = failure;
    if (this.#opening) this.#opening.isTrial = false;
    else this.#retry(new Failure("a newer session of this user has replaced this one", { code: failure.code }));
    return true;
  }

  /** Counts the WebSockets that a proxy may have blocked. A code of the application proves that none did. */
  #notOpened({ transport, isRequested }, { code }) {
    if (!isRequested) return;
    if (transport === "sse") this.#blocked = 1; // the server is away: a WebSocket next
    else this.#blocked = code >= 4000 ? 0 : this.#blocked + 1;
  }

  /**
   * Decides whether the next token must be a new one. A new token may be refused too: without `REPLACE_INTERVAL`, all
   * clients together would overload the token source. A browser does not show that a WebSocket was refused with 401.
   * After `BLOCKED_AFTER` of these, the ticket of an event stream shows it, and without one the token is suspected.
   */
  #judgeToken({ transport, refused, isRequested, isWelcome }, { code }) {
    if (!isRequested) return; // the token source has failed: what it should know has not changed
    const now = this.#env.monotonic();
    if (refused && !isWelcome) this.#replaced = now;
    const isUnclear = transport === "ws" && !isWelcome && code === 1006;
    const isSuspect = isUnclear && this.#blocked >= BLOCKED_AFTER && this.#choose() === "ws";
    const isRefused = code === TOKEN_REFUSED || code === 401 || isSuspect;
    this.#refused = isRefused && now - this.#replaced >= REPLACE_INTERVAL;
  }

  /** Returns a random wait, whose limit doubles with each failure. */
  #backoff(failures) {
    const { base, cap } = this.#options.backoff;
    return this.#env.random() * Math.min(cap, base * 2 ** Math.min(failures, 30));
  }

  #retry(failure) {
    // The wait that `drain` requested stays as it is.
    if (!this.#planned && !this.#opening) {
      const wait = this.#backoff(this.#failures);
      this.#failures += 1;
      this.#plan(Math.max(wait, Math.min(failure.retryAfter, MAX_WAIT)));
    }
    if (this.#current) return;
    const retryIn = this.#planned ? this.#planned.at - this.#env.monotonic() : 0;
    this.#enter("waiting", { error: failure, retryIn });
  }
}
