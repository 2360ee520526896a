/** A topic, or a part of it. */
export type Subscription = string | {
  topic: string;
  /**
   * The types of events that pass. Empty: all. The client drops the others itself until the server confirms the filter, and
   * while an event stream is in use.
   */
  events?: string[];
  /** The keys that pass. Empty: all, and events without a key. */
  keys?: string[];
  /**
   * The maximum number of events that the server sends beyond the last one that the page has handled, 1 to 1,000. The
   * others wait in the history of the topic, and the server learns what was handled. Default: no limit.
   *
   * An event is handled when all of its listeners have returned, and what they gave to `CommsEvent.waitUntil` has
   * settled. The client acknowledges what was handled at half of the window, and after 200 ms. A topic without history is
   * refused with the code `no_history`. An event stream has no windows: while one is in use, all events are sent.
   */
  window?: number;
};

/**
 * An event of the client.
 *
 * ```js
 * events.addEventListener("event", (event) => event.waitUntil(store(event.detail)));
 * ```
 */
export interface CommsEvent<Detail> extends CustomEvent<Detail> {
  /**
   * Delays the acknowledgement of this event in a topic with a window until `promise` settles, and of those after it. A
   * promise that is rejected counts as handled, or the topic would stop. Throws after the event was dispatched.
   */
  waitUntil(promise: Promise<unknown>): void;
}

export interface Options {
  /**
   * Returns an access token. Called for each connection, and before the token of an open connection expires.
   * `refused`: the server has refused the last token, so a cached one is not good enough. It is true at most once in 5
   * minutes until the server accepts a token, so that a server that refuses all tokens does not overload the source. A
   * browser does not show why a WebSocket could not be opened: without an event stream to fall back to, `refused` is
   * also true after the second one in a row.
   *
   * A rejection whose `isFinal` is true ends the client, unless an event stream is in use; after another one the client
   * tries again. A token has the characters of an HTTP token, as JSON Web Tokens do. Default: no token.
   */
  token?: ((hint: { refused: boolean }) => string | Promise<string>) | null;
  /** The topics besides those that the server gives to the user. */
  topics?: Subscription[];
  /** The position of an earlier client, from `CommsEvents.cursor`. */
  cursor?: string;
  /**
   * The wait between attempts in milliseconds: random, below `base`, which is doubled after each failure up to `cap`.
   * Default 500 and 30,000.
   */
  backoff?: { base?: number; cap?: number };
  /** The time limit for opening a connection, in milliseconds. Default 15,000. */
  connectTimeout?: number;
  /**
   * While server-sent events are in use, the time until the next attempt of a WebSocket, in milliseconds. Default
   * 300,000.
   */
  socketRetry?: number;

  // The parts of the browser, for tests.
  WebSocket?: unknown;
  EventSource?: unknown;
  fetch?: unknown;
  setTimeout?: unknown;
  clearTimeout?: unknown;
  /** Milliseconds since 1970. */
  now?: () => number;
  /** Milliseconds since any time, of a clock that is never set. */
  monotonic?: () => number;
  /** A number of at least 0 and below 1. */
  random?: () => number;
  /** Dispatches `online`, `offline`, `pagehide` and `pageshow`. */
  window?: EventTarget | null;
  /** Dispatches `visibilitychange`. */
  document?: (EventTarget & { visibilityState: string }) | null;
}

/** An event of a topic. The events of a topic are dispatched in the order of their offsets, each at most once. */
export interface EventDetail<Data = unknown> {
  topic: string;
  /** The number of the event in its topic. Absent in a topic without history. */
  offset?: number;
  /** The identity of the event in its topic. */
  id: string;
  /** The type of the event, such as `order.status.changed.v1`. */
  event: string;
  /** The time of the event (RFC 3339). */
  time?: string;
  key?: string;
  traceparent?: string;
  data: Data;
}

/**
 * Events of `topic` were lost, or may have been: read the state by other means. The events that follow are complete.
 */
export interface MissedDetail {
  topic: string;
  /**
   * `no_history`: the topic keeps none, and the client was not connected. `gap`: an offset does not follow the one
   * before.
   */
  reason: "slow" | "epoch" | "history" | "no_history" | "gap" | string;
}

/**
 * A subscription has changed. `refused`: the client does not ask for the topic again. A topic whose permission the
 * server could not look up is not refused: the client subscribes to it again after the wait of `Options.backoff`.
 */
export interface TopicDetail {
  topic: string;
  change: "subscribed" | "recovered" | "unsubscribed" | "refused";
  reason?: string;
  code?: string;
}

export interface StateDetail {
  /**
   * `waiting`: the next attempt follows after `retryIn`. `failed`: a new connection would fail in the same way, see
   * `error`. With the code 4409 a newer session of the user has replaced this one: the page offers to connect again, with
   * a new client at `CommsEvents.cursor`, and does not do so by itself. While the client opens a connection in place of the
   * one that was replaced, which may be the newer session, the state stays `open`; the client fails if that connection does.
   */
  state: "connecting" | "open" | "waiting" | "closed" | "failed";
  transport: "ws" | "sse" | null;
  session?: string;
  /** In milliseconds. */
  retryIn?: number;
  error?: (Error & { code: number; isFinal: boolean }) | null;
}

export interface CommsEventMap {
  event: CommsEvent<EventDetail>;
  missed: CommsEvent<MissedDetail>;
  topic: CustomEvent<TopicDetail>;
  state: CustomEvent<StateDetail>;
}

/**
 * A client that stays connected until `close`: WebSocket, or server-sent events after two WebSockets that could not be
 * opened, eight if one was open before on this network. It resumes each topic after a lost connection, also over the
 * other transport. A page that is left ends its connection, and resumes if the browser restores it from its cache.
 *
 * An event stream cannot be asked whether it is alive: a dead one is noticed when the browser reports an error, or two
 * ping intervals after the last frame if the server sends pings as frames. Its topics change by a new connection. They
 * and the cursor are in its URL, which has at most 7,000 characters: topics whose position does not fit are not resumed
 * (`missed`, or `unsubscribed` with the reason `too_many_topics` if only the cursor has named them), and the client fails if
 * the topics alone do not fit. While an event stream is in use, the failure of a
 * WebSocket has no effect on it.
 */
export class CommsEvents extends EventTarget {
  /** Connects to `url`, such as `/v1/events`, in the next task, so that listeners can be added first. */
  constructor(url: string | URL, options?: Options);
  readonly state: StateDetail["state"];
  readonly transport: "ws" | "sse" | null;
  /** The position after the last event that was dispatched, for `Options.cursor` of a later client. */
  readonly cursor: string;
  /** Subscribes to a topic, or replaces its filter and its window. */
  subscribe(topic: Subscription): void;
  unsubscribe(topic: string): void;
  /**
   * Ends a wait for the next attempt. An open connection is closed unless the server answers within 5 s. The client calls
   * it when the page is shown; an attempt that was open while the page was hidden is then replaced.
   */
  reconnect(): void;
  /** Closes the connection and ends the client. */
  close(): void;
  addEventListener<K extends keyof CommsEventMap>(
    type: K,
    listener: (this: CommsEvents, event: CommsEventMap[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}
