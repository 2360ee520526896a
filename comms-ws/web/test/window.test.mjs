// Topics with a window: what the client acknowledges, and when.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, Server, topic } from "./support.mjs";

const DELAY = 200;
const subscribed = (cursor, more = {}) => ({ type: "subscribed", topic: "w", cursor, window: 4, ...more });

/** Opens a client of the topic `w` with a window of 4. */
async function open(t, { listen = () => {}, answer = subscribed("w:1:0:m") } = {}) {
  const server = await Server.start(t);
  const client = new Client(t, server, { topics: [{ topic: "w", window: 4 }] });
  client.events.addEventListener("event", listen);
  const peer = await server.peer();
  assert.equal(peer.query, "");
  peer.welcome();
  assert.deepEqual(await peer.frame(), { type: "subscribe", topic: "w", window: 4 });
  peer.send(answer);
  assert.deepEqual(await client.items(1), ["subscribed w"]);
  return { server, client, peer };
}

test("what was handled is acknowledged at half of the window and after a wait", async (t) => {
  const { client, peer } = await open(t);
  peer.event("w", 1);
  peer.event("w", 2);
  assert.deepEqual(await peer.frame(), { type: "ack", cursor: "w:1:0:m~2" });
  peer.event("w", 3);
  await client.items(3);
  client.clock.advance(DELAY - 1);
  client.events.subscribe("other");
  assert.equal((await peer.frame()).topic, "other");
  client.clock.advance(1);
  assert.deepEqual(await peer.frame(), { type: "ack", cursor: "w:1:0:m~3" });
  peer.send({ type: "missed", topic: "w", cursor: "w:2:0:m", reason: "epoch" });
  await client.items(1);
  client.clock.advance(DELAY);
  assert.deepEqual(await peer.frame(), { type: "ack", cursor: "w:2:0:m" });
});

test("a listener that waits delays the acknowledgement of its event and of those after it", async (t) => {
  const settle = new Map();
  const listen = (event) => {
    if (event.detail.offset === 4) return;
    event.waitUntil(new Promise((resolve, reject) => settle.set(event.detail.offset, { resolve, reject })));
  };
  const { client, peer } = await open(t, { listen });
  for (const offset of [1, 2, 3, 4]) peer.event("w", offset);
  await client.items(4);
  settle.get(2).resolve();
  settle.get(3).reject(new Error("a listener has failed"));
  await new Promise(setImmediate);
  client.clock.advance(DELAY);
  client.events.subscribe("other");
  assert.equal((await peer.frame()).topic, "other", "the first event is not handled");
  settle.get(1).resolve();
  assert.deepEqual(await peer.frame(), { type: "ack", cursor: "w:1:0:m~4" });
});

test("waitUntil is refused after the event was dispatched", async (t) => {
  const { client, peer } = await open(t);
  const dispatched = new Promise((resolve) => client.events.addEventListener("event", resolve));
  peer.event("w", 1);
  const event = await dispatched;
  assert.throws(() => event.waitUntil(Promise.resolve()), /after the event was dispatched/);
});

test("what an old session has sent is not acknowledged in a new one", async (t) => {
  let settle;
  const listen = (event) => event.waitUntil(new Promise((resolve) => (settle ??= resolve)));
  const { server, client, peer } = await open(t, { listen });
  peer.event("w", 1);
  await client.items(1);
  peer.socket.terminate();
  await client.retry();
  const next = await server.peer();
  next.welcome();
  assert.equal((await next.frame()).cursor, "w:1:0:m~1");
  next.send(subscribed("w:1:1:m", { recovered: true }));
  await client.items(1);
  settle();
  await new Promise(setImmediate);
  client.clock.advance(DELAY);
  client.events.subscribe("other");
  assert.equal((await next.frame()).topic, "other");
});

test("a topic that was left is not acknowledged", async (t) => {
  let settle;
  const listen = (event) => event.detail.offset === 2 && event.waitUntil(new Promise((resolve) => (settle = resolve)));
  const { client, peer } = await open(t, { listen });
  const leave = [
    () => client.events.unsubscribe("w"),
    () => peer.send({ type: "unsubscribed", topic: "w", reason: "forbidden" }),
    () => peer.send({ type: "error", code: "forbidden", detail: "w" }),
  ];
  for (const [n, call] of leave.entries()) {
    peer.event("w", 1);
    peer.event("w", 2);
    await client.items(2);
    call();
    if (n === 0) assert.equal((await peer.frame()).type, "unsubscribe");
    else await client.items(1);
    settle();
    await new Promise(setImmediate);
    client.clock.advance(DELAY);
    client.events.subscribe({ topic: "w", window: 4 });
    assert.equal((await peer.frame()).type, "subscribe", String(n));
    peer.send(subscribed("w:1:0:m"));
    await client.items(1);
  }
  peer.event("w", 1);
  await client.items(1);
  client.clock.advance(DELAY);
  assert.deepEqual(await peer.frame(), { type: "ack", cursor: "w:1:0:m~1" });
});

test("a server that confirms no window gets no acknowledgement", async (t) => {
  const { client, peer } = await open(t, { answer: subscribed("w:1:0:m", { window: undefined }) });
  for (const offset of [1, 2, 3, 4]) peer.event("w", offset);
  await client.items(4);
  client.clock.advance(DELAY);
  client.events.subscribe("other");
  assert.equal((await peer.frame()).topic, "other");
});

test("an event stream has no window", async (t) => {
  const server = await Server.start(t);
  const client = new Client(t, server, { topics: [{ topic: "w", window: 1 }], WebSocket: null });
  const stream = await server.stream();
  assert.match(stream.query, /topic=w/);
  stream.welcome([topic("w:1:0:m")]);
  stream.event("w", 1);
  stream.event("w", 2);
  assert.deepEqual(await client.items(3), ["subscribed w", "event w 1", "event w 2"]);
});
