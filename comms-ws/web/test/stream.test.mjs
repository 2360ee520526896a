// Server-sent events: the fall-back, tickets, cursors between the transports, and the way back.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, Server, topic, until } from "./support.mjs";

/** Starts a client that has fallen back to an event stream. */
async function fallBack(t, options = {}) {
  const server = await Server.start(t);
  server.isBlocked = true;
  const client = new Client(t, server, options);
  await client.retry();
  await client.retry();
  return { server, client, stream: await server.stream() };
}

test("after two WebSockets that cannot be opened, the events come over SSE, and later over a WebSocket again", async (t) => {
  const { server, client, stream } = await fallBack(t, { topics: ["news"], connectTimeout: 1e9 });
  assert.deepEqual(server.requests, ["ws", "ws", "ticket", "sse"]);
  assert.deepEqual([server.lastToken, stream.query], ["Bearer token-3", "ticket=ticket-1&topic=news"]);
  stream.welcome([topic("news:1:0:m")]);
  stream.event("news", 1);
  assert.deepEqual(await client.items(2), ["subscribed news", "event news 1"]);
  assert.equal(client.events.transport, "sse");

  // The proxy still blocks: the stream stays in use.
  client.clock.advance(300_000);
  await until("an attempt", () => server.requests.length === 5);
  stream.event("news", 2);
  assert.deepEqual(await client.items(1), ["event news 2"]);

  server.isBlocked = false;
  await until("the next attempt", () => (client.clock.advance(10_000), server.requests.length === 6));
  const peer = await server.peer();
  assert.equal(peer.query, "topic=news&cursor=news:1:0:m~2");
  peer.welcome([topic("news:1:2:m", { recovered: true })]);
  peer.event("news", 2);
  peer.event("news", 3);
  assert.deepEqual(await client.items(2), ["recovered news", "event news 3"]);
  assert.equal(client.events.transport, "ws");
  await stream.closed;
});

test("a stream that ends is opened again with a new ticket and the cursor", async (t) => {
  const { client, server, stream } = await fallBack(t);
  stream.welcome([topic("a:1:0:m")]);
  stream.event("a", 1);
  await client.items(2);
  stream.end();
  await client.retry();
  const next = await server.stream();
  assert.equal(next.query, "ticket=ticket-2&cursor=a:1:0:m~1");
  next.welcome([topic("a:1:1:m", { recovered: true })]);
  assert.deepEqual(await client.items(1), ["recovered a"]);
  assert.deepEqual(server.requests, ["ws", "ws", "ticket", "sse", "ticket", "sse"]);
});

test("the close frame of a stream is a close code", async (t) => {
  const { client, server, stream } = await fallBack(t);
  stream.welcome([topic("a:1:0:m")]);
  stream.send({ type: "close", code: 4401, reason: "expired" });
  assert.equal((await client.retry()).error.code, 4401);
  assert.equal(client.hints.at(-1), true);
  const next = await server.stream();
  next.welcome([topic("a:1:0:m", { recovered: true })]);
  next.send({ type: "close", code: 1001, reason: "", retry_ms: 40_000 });
  assert.equal((await client.retry()).retryIn, 40_000);
  (await server.stream()).send({ type: "close", code: 4403, reason: "" });
  assert.equal((await client.state("failed")).error.code, 4403);
});

test("a draining stream is replaced before it ends", async (t) => {
  const { client, server, stream } = await fallBack(t);
  stream.welcome([topic("a:1:0:m")]);
  stream.send({ type: "drain", retry_ms: 500 });
  stream.event("a", 1);
  await client.items(2);
  client.clock.advance(500);
  const next = await server.stream();
  assert.equal(next.query, "ticket=ticket-2&cursor=a:1:0:m~1");
  next.welcome([topic("a:1:1:m", { recovered: true })]);
  await stream.closed;
  assert.deepEqual(await client.items(1), ["recovered a"]);
});

test("topics and the token of a stream change by a new stream", async (t) => {
  const { client, server, stream } = await fallBack(t);
  const expires = client.clock.now() / 1000 + 600;
  stream.welcome([topic("a:1:0:m")], { expires });
  await client.items(1);
  client.events.subscribe({ topic: "b", keys: ["k"] });
  client.events.subscribe("c");
  client.clock.advance(20);
  const second = await server.stream();
  assert.equal(second.query, "ticket=ticket-2&topic=b&topic=c&cursor=a:1:0:m");
  second.welcome([topic("a:1:0:m", { recovered: true }), topic("b:1:0:m"), topic("c:1:0:m")], { expires });
  second.event("b", 1, { key: "x" });
  second.event("b", 2, { key: "k" });
  assert.deepEqual(await client.items(4), ["recovered a", "subscribed b", "subscribed c", "event b 2"]);
  await stream.closed;
  // A WebSocket is tried meanwhile, and is still blocked.
  const tokens = client.hints.length;
  await until("the refresh", () => (client.clock.advance(1000), server.tickets === 3));
  assert.ok(client.clock.now() >= (expires - 61) * 1000 && client.hints.length > tokens);
  assert.equal((await server.stream()).query, "ticket=ticket-3&topic=b&topic=c&cursor=a:1:0:m,b:1:0:m~2,c:1:0:m");
});

test("a topic that is subscribed while a stream is opened gets another stream", async (t) => {
  const { client, server, stream } = await fallBack(t);
  client.events.subscribe("late");
  stream.welcome();
  await client.state("open");
  client.clock.advance(20);
  assert.equal((await server.stream()).query, "ticket=ticket-2&topic=late");
});

test("a ticket that is refused shows why", async (t) => {
  const server = await Server.start(t);
  server.status = 401;
  const client = new Client(t, server);
  await client.retry();
  await client.retry();
  assert.equal((await client.retry()).error.code, 401);
  // The server is not blocked but refuses: the transports take turns.
  await client.retry();
  server.status = 403;
  assert.equal((await client.state("failed")).error.code, 403);
  assert.deepEqual(server.requests, ["ws", "ws", "ticket", "ws", "ticket"]);
});

test("while the server is away, the transports take turns until one is open", async (t) => {
  const server = await Server.start(t);
  server.status = 503;
  const client = new Client(t, server);
  for (let n = 0; n < 5; n++) await client.retry();
  await until("six requests", () => server.requests.length === 6);
  assert.deepEqual(server.requests, ["ws", "ws", "ticket", "ws", "ticket", "ws"]);
});

test("a client that has had a WebSocket stays with it, until the network changes", async (t) => {
  const server = await Server.start(t);
  const client = new Client(t, server);
  const peer = await server.peer();
  peer.welcome();
  await client.state("open");
  server.isBlocked = true;
  peer.socket.terminate();
  for (let n = 0; n < 4; n++) await client.retry();
  assert.ok(!server.requests.includes("ticket"), server.requests.join());
  client.page.network("online");
  for (let n = 0; n < 2; n++) await client.retry();
  assert.equal((await server.stream()).query, "ticket=ticket-1");
});

test("a client without a token opens a stream without a ticket", async (t) => {
  const { server, stream } = await fallBack(t, { token: null });
  assert.equal(stream.query, "");
  assert.deepEqual(server.requests, ["ws", "ws", "sse"]);
});
