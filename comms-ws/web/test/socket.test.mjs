// The WebSocket: reconnects, close codes, the token, and the pace of frames.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, Server, topic, until } from "./support.mjs";

test("a connection that is cut amid events is resumed without loss and duplicates", async (t) => {
  const server = await Server.start(t);
  const client = new Client(t, server, { topics: ["news"] });
  const first = await server.peer();
  assert.deepEqual([first.query, first.token, first.protocols[0]], ["topic=news", "token-1", "comms.v1"]);
  first.welcome([topic("news:1:0:m")]);
  first.event("news", 1);
  first.event("news", 2);
  assert.deepEqual(await client.items(3), ["subscribed news", "event news 1", "event news 2"]);
  first.socket.terminate();
  const { retryIn, error } = await client.retry();
  assert.deepEqual([retryIn, error.isFinal], [250, false]);
  const second = await server.peer();
  assert.equal(second.query, "topic=news&cursor=news:1:0:m~2");
  second.welcome([topic("news:1:2:n", { recovered: true })]);
  for (const offset of [1, 2, 3, 3]) second.event("news", offset);
  second.event("news", 5);
  assert.deepEqual(await client.items(4), ["recovered news", "event news 3", "missed news gap", "event news 5"]);
  assert.equal(client.events.cursor, "news:1:2:n~5");
});

test("the events of the page have the fields of the frame", async (t) => {
  const server = await Server.start(t);
  const client = new Client(t, server);
  const detail = new Promise((resolve) => client.events.addEventListener("event", (event) => resolve(event.detail)));
  const peer = await server.peer();
  peer.welcome([topic("a:1:0:m")]);
  const [time, data] = ["2026-11-21T07:00:00Z", { x: [1] }];
  const frame = { topic: "a", offset: 1, id: "svc/1", event: "paid", time, key: "k", traceparent: "00", data };
  peer.send({ type: "event", ...frame, later: 1 });
  assert.deepEqual(await detail, frame);
});

test("4401 gets a new token, and 4408, 1001 and others are followed by the cursor", async (t) => {
  const server = await Server.start(t);
  const client = new Client(t, server);
  let peer = await server.peer();
  peer.welcome([topic("a:1:5:m")]);
  await client.items(1);
  let calls = 1;
  for (const code of [4401, 4408, 1001, 1011, 4410]) {
    peer.socket.close(code, "why");
    const { error } = await client.retry();
    assert.equal(error.code, code);
    peer = await server.peer();
    assert.deepEqual([peer.query, peer.token], ["cursor=a:1:5:m", `token-${++calls}`], String(code));
    assert.equal(client.hints.at(-1), code === 4401, String(code));
    peer.welcome([topic("a:1:5:m", { recovered: true })]);
    assert.deepEqual(await client.items(1), ["recovered a"]);
  }
});

test("final codes end the client with advice", async (t) => {
  const disagree = { 1002: "update", 1003: "update", 1007: "update" };
  const advices = { ...disagree, 1008: "less often", 1009: "shorter", 4403: "access", 4409: "replaced" };
  for (const [text, advice] of Object.entries(advices)) {
    const code = Number(text);
    const server = await Server.start(t);
    const client = new Client(t, server);
    const peer = await server.peer();
    peer.welcome([topic("a:1:0:m")]);
    peer.event("a", 1);
    peer.socket.close(code);
    const { error } = await client.state("failed");
    assert.ok(error.code === code && error.message.includes(advice), error.message);
    assert.deepEqual(await client.items(2), ["subscribed a", "event a 1"]);
    assert.equal(client.clock.timers, 0);
    client.events.reconnect();
    client.page.network("online");
    assert.deepEqual(server.requests, ["ws"]);
  }
});

test("the wait has full jitter, grows up to the cap, and begins anew after a stable connection", async (t) => {
  const server = await Server.start(t);
  server.status = 503;
  const client = new Client(t, server, { backoff: { base: 1000, cap: 4000 }, EventSource: null, random: () => 0.25 });
  for (const wait of [250, 500, 1000, 1000]) assert.equal((await client.retry()).retryIn, wait);
  const { retryIn } = await client.state("waiting");
  server.status = 200;
  client.clock.advance(retryIn);
  for (const [age, wait] of [[9_999, 1000], [10_000, 250]]) {
    const peer = await server.peer();
    peer.welcome();
    await client.state("open");
    client.clock.advance(age);
    peer.socket.terminate();
    assert.equal((await client.retry()).retryIn, wait, `after ${age} ms`);
  }
});

test("the next connection is opened before a draining server closes", async (t) => {
  const server = await Server.start(t);
  const client = new Client(t, server);
  const old = await server.peer();
  old.welcome([topic("a:1:0:m")]);
  old.send({ type: "drain", retry_ms: 700 });
  old.event("a", 1);
  assert.deepEqual(await client.items(2), ["subscribed a", "event a 1"]);
  client.clock.advance(699);
  assert.deepEqual(server.requests, ["ws"]);
  client.clock.advance(1);
  const next = await server.peer();
  assert.equal(next.query, "cursor=a:1:0:m~1");
  old.event("a", 2);
  assert.deepEqual(await client.items(1), ["event a 2"]);
  next.welcome([topic("a:1:1:m", { recovered: true })]);
  next.event("a", 2);
  next.event("a", 3);
  assert.deepEqual(await client.items(2), ["recovered a", "event a 3"]);
  assert.equal(await old.closed, 1000);
});

test("a draining server that closes early is left alone until its time", async (t) => {
  const server = await Server.start(t);
  const client = new Client(t, server);
  const old = await server.peer();
  old.welcome([topic("a:1:0:m")]);
  old.send({ type: "drain", retry_ms: 700 });
  old.socket.close(1001);
  assert.equal((await client.retry()).retryIn, 700);
  (await server.peer()).welcome([topic("a:1:0:m", { recovered: true })]);
  assert.deepEqual(await client.items(2), ["subscribed a", "recovered a"]);
});

test("a silent server is pinged and then given up", async (t) => {
  const server = await Server.start(t);
  const client = new Client(t, server);
  const peer = await server.peer();
  peer.welcome([topic("a:1:0:m")]);
  await client.items(1);
  for (const offset of [1, 2]) {
    client.clock.advance(10_000);
    assert.deepEqual(await peer.frame(), { type: "ping" });
    peer.event("a", offset);
    await client.items(1);
  }
  client.clock.advance(20_000);
  assert.match((await client.retry()).error.message, /two ping intervals/);
  assert.equal((await server.peer()).query, "cursor=a:1:0:m~2");
});

test("the late timers of a hidden page do not end a healthy connection", async (t) => {
  const server = await Server.start(t);
  const client = new Client(t, server);
  const peer = await server.peer();
  peer.welcome([topic("a:1:0:m")]);
  await client.items(1);
  for (const offset of [1, 2, 3]) {
    client.clock.jump(60_000);
    assert.deepEqual(await peer.frame(), { type: "ping" });
    peer.event("a", offset);
    await client.items(1);
  }
  client.clock.jump(60_000);
  assert.deepEqual(await peer.frame(), { type: "ping" });
  // A page that was frozen: its timers run before the answer is read.
  client.clock.jump(60_000);
  peer.event("a", 4);
  await client.items(1);
  client.clock.jump(1000);
  assert.equal(client.events.state, "open");
  client.clock.jump(60_000);
  assert.deepEqual(await peer.frame(), { type: "ping" });
  client.clock.jump(60_000);
  assert.equal(client.events.state, "open");
  client.clock.jump(60_000);
  assert.match((await client.retry()).error.message, /two ping intervals/);
});

test("a server without welcome is given up at the time limit", async (t) => {
  const server = await Server.start(t);
  const client = new Client(t, server, { connectTimeout: 3000 });
  await server.peer();
  client.clock.advance(3000);
  assert.match((await client.retry()).error.message, /time limit/);
  await server.peer();
});

test("malformed frames end the connection and not the client", async (t) => {
  const server = await Server.start(t);
  const client = new Client(t, server);
  for (const frame of [null, [], { type: "missed", topic: "a", cursor: "a" }]) {
    const peer = await server.peer();
    peer.welcome([topic("a:1:0:m")]);
    peer.send(frame);
    assert.match((await client.retry()).error.message, /malformed frame/);
  }
  const peer = await server.peer();
  peer.event("a", 1);
  await client.retry();
  await server.peer();
});

test("the token is refreshed in the session, and again after a refusal", async (t) => {
  const server = await Server.start(t);
  const client = new Client(t, server);
  const peer = await server.peer();
  const expires = client.clock.now() / 1000 + 600;
  peer.welcome([], { ping_seconds: 3600, expires });
  await client.state("open");
  client.clock.advance(540_000);
  assert.deepEqual(await peer.frame(), { type: "refresh", token: "token-2" });
  peer.send({ type: "error", code: "unauthorized", detail: "" });
  await until("the next refresh", () => (client.clock.advance(1000), client.hints.length === 3));
  assert.ok(client.clock.now() >= (expires - 15) * 1000 && client.clock.now() < expires * 1000);
  assert.deepEqual(await peer.frame(), { type: "refresh", token: "token-3" });
  const now = client.clock.now();
  peer.send({ type: "refreshed", expires: expires + 600 });
  await until("the refresh of the next token", () => (client.clock.advance(1000), client.hints.length === 4));
  assert.ok(client.clock.now() > now + 100_000);
});

test("the relative end of a session counts, whatever the clock of the page", async (t) => {
  const server = await Server.start(t);
  const client = new Client(t, server);
  const peer = await server.peer();
  peer.welcome([], { ping_seconds: 3600, expires: 1, expires_in: 600 });
  await client.state("open");
  client.clock.advance(539_000);
  client.clock.set(3_600_000);
  assert.equal(client.hints.length, 1);
  client.clock.advance(1_000);
  assert.deepEqual(await peer.frame(), { type: "refresh", token: "token-2" });
  peer.send({ type: "refreshed", expires: 1, expires_in: 600 });
  peer.send({ type: "later", topic: "a" });
  peer.send({ type: "unsubscribed", topic: "a" });
  await client.items(1);
  client.clock.advance(539_000);
  assert.equal(client.hints.length, 2);
  client.clock.advance(1_000);
  assert.deepEqual(await peer.frame(), { type: "refresh", token: "token-3" });
});

test("a new token is asked for once in 5 minutes, until the server accepts one", async (t) => {
  const server = await Server.start(t);
  const client = new Client(t, server);
  let peer = await server.peer();
  peer.welcome();
  await client.state("open");
  for (const hint of [true, false, false]) {
    peer.socket.close(4401);
    await client.retry();
    peer = await server.peer();
    assert.equal(client.hints.at(-1), hint);
  }
  // The new token may have expired since then.
  client.clock.jump(300_000);
  await client.retry(); // the time limit for opening
  peer = await server.peer();
  assert.equal(client.hints.at(-1), false, "no refusal");
  peer.socket.close(4401);
  await client.retry();
  peer = await server.peer();
  assert.equal(client.hints.at(-1), true);
  peer.welcome();
  await client.state("open");
  peer.socket.close(4401);
  await client.retry();
  await server.peer();
  assert.equal(client.hints.at(-1), true);
});

test("an outage does not ask for new tokens, as far as the browser shows the cause", async (t) => {
  const server = await Server.start(t);
  server.status = 503;
  const client = new Client(t, server);
  for (let n = 0; n < 5; n++) await client.retry();
  await until("six tokens", () => client.hints.length === 6);
  assert.deepEqual(new Set(client.hints), new Set([false]));
  // The page has no event streams: nothing else shows that the token was refused.
  const other = new Client(t, server, { EventSource: null });
  for (let n = 0; n < 4; n++) await other.retry();
  await until("five tokens", () => other.hints.length === 5);
  assert.deepEqual(other.hints, [false, false, true, false, false]);
});

test("a token source that fails is asked for a new token again", async (t) => {
  const server = await Server.start(t);
  const hints = [];
  const token = async ({ refused }) => {
    if (hints.push(refused) === 2) throw new Error("away");
    return "t";
  };
  const client = new Client(t, server, { token });
  (await server.peer()).socket.close(4401);
  await client.retry();
  assert.equal((await client.retry()).error.message, "away");
  await server.peer();
  assert.deepEqual(hints, [false, true, true]);
});

test("a token source that fails is not taken for a blocked WebSocket", async (t) => {
  const server = await Server.start(t);
  let calls = 0;
  const token = async () => {
    if (++calls <= 2) throw new Error("away");
    return "t";
  };
  const client = new Client(t, server, { token });
  for (let n = 0; n < 2; n++) await client.retry();
  (await server.peer()).welcome();
  await client.state("open");
  assert.deepEqual(server.requests, ["ws"]);
});

test("a topic whose permission could not be looked up is subscribed again after a growing wait", async (t) => {
  const server = await Server.start(t);
  const client = new Client(t, server, { topics: ["news"] });
  const peer = await server.peer();
  const unavailable = async () => {
    peer.send({ type: "error", code: "unavailable", detail: "news" });
    peer.event("a", (offset += 1));
    await client.items(1);
  };
  let offset = 0;
  peer.welcome([topic("a:1:0:m")]);
  await client.items(1);
  for (const wait of [250, 500, 1000]) {
    await unavailable();
    client.clock.advance(wait - 1);
    assert.equal(peer.unread, 0);
    client.clock.advance(1);
    assert.deepEqual(await peer.frame(), { type: "subscribe", topic: "news" });
  }
  peer.send({ type: "subscribed", ...topic("news:1:0:m") });
  assert.deepEqual(await client.items(1), ["subscribed news"]);
  await unavailable();
  client.clock.advance(250);
  assert.deepEqual(await peer.frame(), { type: "subscribe", topic: "news", cursor: "news:1:0:m" });
  await unavailable();
  client.events.close();
  assert.equal(client.clock.timers, 0);
});

test("a token source that fails is called again, unless the failure is final", async (t) => {
  const server = await Server.start(t);
  let calls = 0;
  const token = async () => {
    calls += 1;
    if (calls === 1) throw new Error("away");
    if (calls === 3) throw Object.assign(new Error("logged out"), { isFinal: true });
    return "t";
  };
  const client = new Client(t, server, { token });
  assert.equal((await client.retry()).error.message, "away");
  (await server.peer()).socket.close(4401);
  client.clock.advance((await client.state("waiting")).retryIn);
  assert.equal((await client.state("failed")).error.message, "logged out");
});

test("topics change at run time, and are subscribed again", async (t) => {
  const server = await Server.start(t);
  const client = new Client(t, server);
  let peer = await server.peer();
  peer.welcome();
  await client.state("open");
  client.events.subscribe({ topic: "orders", keys: ["7"] });
  client.events.subscribe("secret");
  assert.deepEqual(await peer.frame(), { type: "subscribe", topic: "orders", filter: { keys: ["7"] } });
  assert.deepEqual(await peer.frame(), { type: "subscribe", topic: "secret" });
  peer.send({ type: "subscribed", ...topic("orders:1:4:m") });
  peer.send({ type: "error", code: "forbidden", detail: "secret" });
  assert.deepEqual(await client.items(2), ["subscribed orders", "refused secret"]);
  peer.socket.terminate();
  await client.retry();
  peer = await server.peer();
  assert.equal(peer.query, "");
  peer.welcome();
  assert.deepEqual(await peer.frame(), { type: "subscribe", topic: "orders", cursor: "orders:1:4:m", filter: { keys: ["7"] } });
  client.events.unsubscribe("orders");
  assert.deepEqual(await peer.frame(), { type: "unsubscribe", topic: "orders" });
});

test("many frames are sent at a pace that the server accepts", async (t) => {
  const server = await Server.start(t);
  const topics = Array.from({ length: 60 }, (_, n) => ({ topic: `t${n}`, keys: ["k"] }));
  const client = new Client(t, server, { topics });
  const peer = await server.peer();
  peer.welcome([], { ping_seconds: 3600 });
  await client.state("open");
  for (let n = 0; n < 25; n++) assert.equal((await peer.frame()).topic, `t${n}`);
  for (let n = 25; n < 60; n++) {
    const before = client.clock.now();
    await until("the next frame", () => peer.unread > 0 || (client.clock.advance(20), false));
    assert.ok(client.clock.now() > before, `frame ${n} was sent at once`);
    assert.equal((await peer.frame()).topic, `t${n}`);
  }
});

test("close ends the connection with 1000, and no timer remains", async (t) => {
  const server = await Server.start(t);
  const client = new Client(t, server);
  const peer = await server.peer();
  peer.welcome([topic("a:1:0:m")]);
  await client.items(1);
  client.events.close();
  assert.equal(await peer.closed, 1000);
  assert.deepEqual([client.events.state, client.events.transport, client.clock.timers], ["closed", null, 0]);
});
