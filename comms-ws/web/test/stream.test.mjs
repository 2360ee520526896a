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
  peer.socket.terminate();
  await client.retry();
  assert.equal((await server.peer()).query, "topic=news&cursor=news:1:2:m~3");
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

/** Opens a WebSocket, and ends it. Then WebSockets are blocked. */
async function beginToBlock(t) {
  const server = await Server.start(t);
  const client = new Client(t, server);
  const peer = await server.peer();
  peer.welcome();
  await client.state("open");
  server.isBlocked = true;
  peer.socket.terminate();
  return { server, client };
}

test("a client that has had a WebSocket stays with it for some time", async (t) => {
  const { server, client } = await beginToBlock(t);
  for (let n = 0; n < 9; n++) await client.retry();
  const stream = await server.stream();
  assert.deepEqual(server.requests, [...Array(9).fill("ws"), "ticket", "sse"]);
  stream.welcome();
  await client.state("open");
  // The network blocks WebSockets: the next stream follows at once.
  stream.end();
  await client.retry();
  await server.stream();
  assert.deepEqual(server.requests.slice(11), ["ticket", "sse"]);
});

test("a client that has had a WebSocket stays with it until the network changes", async (t) => {
  const { server, client } = await beginToBlock(t);
  for (let n = 0; n < 4; n++) await client.retry();
  assert.ok(!server.requests.includes("ticket"), server.requests.join());
  client.page.network("online");
  assert.match((await client.state("waiting")).error.message, /network has changed/);
  client.clock.advance(0);
  for (let n = 0; n < 2; n++) await client.retry();
  assert.equal((await server.stream()).query, "ticket=ticket-1");
});

test("a client without a token opens a stream without a ticket", async (t) => {
  const { server, stream } = await fallBack(t, { token: null });
  assert.equal(stream.query, "");
  assert.deepEqual(server.requests, ["ws", "ws", "sse"]);
});

test("a silent stream is given up, once the server has sent a ping on it", async (t) => {
  const { client, server, stream } = await fallBack(t);
  stream.welcome([topic("a:1:0:m")]);
  await client.items(1);
  client.clock.advance(100_000); // an older server, whose pings are comments
  assert.equal(client.events.state, "open");
  for (const offset of [1, 2]) {
    stream.send({ type: "ping" });
    stream.event("a", offset);
    await client.items(1);
    client.clock.advance(19_999);
    assert.equal(client.events.state, "open");
  }
  client.clock.advance(1_001);
  assert.match((await client.retry()).error.message, /two ping intervals/);
  assert.equal((await server.stream()).query, "ticket=ticket-2&cursor=a:1:0:m~2");
  await stream.closed;
});

test("the late timers of a hidden page do not end a healthy stream", async (t) => {
  const { client, stream } = await fallBack(t);
  stream.welcome([topic("a:1:0:m")]);
  stream.send({ type: "ping" });
  await client.items(1);
  for (const offset of [1, 2]) {
    client.clock.jump(60_000);
    stream.event("a", offset);
    await client.items(1);
    client.clock.jump(1_000);
    assert.equal(client.events.state, "open");
  }
});

test("WebSockets that a proxy closes before `welcome` are blocked, whatever its code", async (t) => {
  for (const code of [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011]) {
    const server = await Server.start(t);
    const client = new Client(t, server);
    for (let n = 0; n < 2; n++) {
      (await server.peer()).socket.close(code);
      assert.equal((await client.retry()).error.code, code);
    }
    (await server.stream()).welcome();
    await client.state("open");
    client.events.close();
  }
});

test("nothing of the trial of a WebSocket ends the stream", async (t) => {
  let failure = null;
  const token = async () => {
    if (failure) throw failure;
    return "t";
  };
  const { client, server, stream } = await fallBack(t, { token, connectTimeout: 1e9 });
  stream.welcome([topic("a:1:0:m")]);
  await client.items(1);
  server.isBlocked = false;
  let offset = 0;
  const trials = [
    ...[1002, 1009, 4401, 4403].map((code) => (peer) => peer.socket.close(code)),
    (peer) => peer.welcome([topic("a:1:9:m", { recovered: true }), { topic: "b", cursor: "?" }]),
    (peer) => peer.send([]),
  ];
  for (const fail of trials) {
    const timers = client.clock.timers;
    client.clock.advance(300_000);
    const peer = await server.peer();
    fail(peer);
    await peer.closed;
    await until("the plan of the next trial", () => client.clock.timers === timers);
    stream.event("a", (offset += 1));
    assert.deepEqual(await client.items(1), [`event a ${offset}`]);
  }
  failure = Object.assign(new Error("logged out"), { isFinal: true });
  client.clock.advance(300_000);
  await until("the plan of the next trial", () => client.clock.timers === 1);
  stream.event("a", (offset += 1));
  assert.deepEqual(await client.items(1), [`event a ${offset}`]);
  assert.deepEqual([client.events.state, client.events.transport], ["open", "sse"]);
});

test("the trial of a WebSocket gives way to a stream with other topics, and to a drain", async (t) => {
  const { client, server, stream } = await fallBack(t, { connectTimeout: 1e9 });
  stream.welcome([topic("a:1:0:m")]);
  await client.items(1);
  server.isBlocked = false;
  client.clock.advance(300_000);
  const trial = await server.peer();
  client.events.subscribe("b");
  client.clock.advance(20);
  await trial.closed;
  const second = await server.stream();
  assert.equal(second.query, "ticket=ticket-2&topic=b&cursor=a:1:0:m");
  second.welcome([topic("a:1:0:m", { recovered: true }), topic("b:1:0:m")]);
  await client.items(2);
  client.clock.advance(300_000);
  const other = await server.peer();
  second.send({ type: "drain", retry_ms: 500 });
  second.event("a", 1);
  await client.items(1);
  client.clock.advance(500);
  await other.closed;
  (await server.stream()).welcome([topic("a:1:1:m", { recovered: true }), topic("b:1:0:m", { recovered: true })]);
  assert.deepEqual(await client.items(2), ["recovered a", "recovered b"]);
});

test("a stream that ends during the trial of a WebSocket is opened again", async (t) => {
  const { client, server, stream } = await fallBack(t, { connectTimeout: 1e9 });
  stream.welcome([topic("a:1:0:m")]);
  await client.items(1);
  server.isBlocked = false;
  client.clock.advance(300_000);
  const trial = await server.peer();
  stream.end();
  await client.retry();
  await trial.closed;
  assert.equal((await server.stream()).query, "ticket=ticket-2&cursor=a:1:0:m");
});

test("the URL of a stream has a limit", async (t) => {
  const topics = Array.from({ length: 60 }, (_, n) => `${String(n).padStart(2, "0")}${"x".repeat(58)}`);
  const cursor = topics.map((topic) => `${topic}:1:5:${"m".repeat(22)}`).join();
  const { client, stream } = await fallBack(t, { topics, cursor });
  const tokens = stream.query.split("cursor=")[1].split(",");
  assert.ok(tokens.length > 10 && tokens.length < 40, String(tokens.length));
  assert.ok(stream.query.length + client.events.cursor.length > 7000 && stream.query.length <= 7000);
  assert.equal(stream.query.split("topic=").length - 1, 60);
  stream.welcome(topics.map((one, n) => topic(`${one}:1:9:m`, n < tokens.length ? { recovered: true } : {})));
  const items = await client.items(60);
  assert.equal(items.filter((item) => item.startsWith("missed")).length, 60 - tokens.length);
  // The topics alone do not fit.
  const many = Array.from({ length: 100 }, (_, n) => `${n}${"x".repeat(98)}`);
  const server = await Server.start(t);
  server.isBlocked = true;
  const other = new Client(t, server, { topics: many });
  await other.retry();
  await other.retry();
  assert.match((await other.state("failed")).error.message, /7000 characters/);
});

test("a topic of a stream whose permission could not be looked up gets another stream", async (t) => {
  const { client, server, stream } = await fallBack(t, { topics: ["news"] });
  stream.welcome([topic("a:1:0:m")]);
  stream.send({ type: "error", code: "unavailable", detail: "news" });
  stream.event("a", 1);
  await client.items(2);
  client.clock.advance(250);
  client.clock.advance(20);
  assert.equal((await server.stream()).query, "ticket=ticket-2&topic=news&cursor=a:1:0:m~1");
});
