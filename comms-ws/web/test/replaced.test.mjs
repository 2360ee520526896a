// The code 4409: a server that ends the oldest session of a user also ends one connection of a client for its next one.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, Server, topic, until } from "./support.mjs";

/** Starts a client whose event stream is in use. */
async function openStream(t, options = {}) {
  const server = await Server.start(t);
  const client = new Client(t, server, { topics: ["a"], WebSocket: null, ...options });
  const stream = await server.stream();
  stream.welcome([topic("a:1:0:m")]);
  assert.deepEqual(await client.items(1), ["subscribed a"]);
  await client.state("open");
  return { server, client, stream };
}

/** Ends a stream with 4409, and waits until the client has read it. */
async function replace(stream) {
  stream.send({ type: "close", code: 4409, reason: "replaced" });
  await stream.closed;
}

test("a stream that its own successor replaces goes on in the successor", async (t) => {
  const { server, client, stream } = await openStream(t);
  stream.event("a", 1);
  await client.items(1);
  client.events.subscribe("b");
  client.clock.advance(20);
  const next = await server.stream();
  await replace(stream);
  assert.equal(client.events.state, "open");
  next.welcome([topic("a:1:1:m", { recovered: true }), topic("b:1:0:m")]);
  next.event("a", 2);
  assert.deepEqual(await client.items(3), ["recovered a", "subscribed b", "event a 2"]);
  // The only connection: another client has replaced it.
  await replace(next);
  assert.equal((await client.state("failed")).error.code, 4409);
  assert.equal(client.clock.timers, 0);
});

test("a stream that was replaced ends the client if its successor fails", async (t) => {
  const { server, client, stream } = await openStream(t);
  client.events.subscribe("b");
  client.clock.advance(20);
  const next = await server.stream();
  await replace(stream);
  next.end();
  assert.equal((await client.state("failed")).error.code, 4409);
});

test("a stream that the trial of a WebSocket replaces goes on in the WebSocket", async (t) => {
  for (const isWelcome of [true, false]) {
    const server = await Server.start(t);
    server.isBlocked = true;
    const client = new Client(t, server, { topics: ["a"] });
    await client.retry();
    await client.retry();
    const stream = await server.stream();
    stream.welcome([topic("a:1:0:m")]);
    await client.items(1);
    await client.state("open");
    server.isBlocked = false;
    client.clock.advance(300_000);
    const peer = await server.peer();
    await replace(stream);
    assert.equal(client.events.state, "open");
    if (isWelcome) {
      peer.welcome([topic("a:1:0:m", { recovered: true })]);
      assert.deepEqual(await client.items(1), ["recovered a"]);
      assert.deepEqual([client.events.state, client.events.transport], ["open", "ws"]);
    } else {
      peer.socket.terminate();
      assert.equal((await client.state("failed")).error.code, 4409);
    }
  }
});

test("a connection that is replaced while it drains goes on in the planned one", async (t) => {
  const server = await Server.start(t);
  const client = new Client(t, server);
  const peer = await server.peer();
  peer.welcome([topic("a:1:0:m")]);
  await client.items(1);
  peer.send({ type: "drain", retry_ms: 4000 });
  peer.event("a", 1);
  await client.items(1);
  peer.socket.close(4409);
  const { error, retryIn } = await client.state("waiting");
  assert.deepEqual([error.code, error.isFinal, retryIn], [4409, false, 4000]);
  client.clock.advance(4000);
  const next = await server.peer();
  assert.equal(next.query, "cursor=a:1:0:m~1");
  next.welcome([topic("a:1:1:m", { recovered: true })]);
  assert.deepEqual(await client.items(1), ["recovered a"]);
  next.socket.close(4409);
  assert.equal((await client.state("failed")).error.code, 4409);
});

test("a hand-over at a drain goes on in the new WebSocket, and ends as replaced if that fails", async (t) => {
  for (const isWelcome of [true, false]) {
    const server = await Server.start(t);
    const client = new Client(t, server);
    const peer = await server.peer();
    peer.welcome([topic("a:1:0:m")]);
    await client.items(1);
    await client.state("open");
    peer.send({ type: "drain", retry_ms: 1 });
    peer.event("a", 1);
    await client.items(1);
    client.clock.advance(1);
    const next = await server.peer();
    peer.socket.close(4409);
    await until("the end", () => client.events.transport === null);
    assert.equal(client.events.state, "open");
    if (isWelcome) {
      next.welcome([topic("a:1:1:m", { recovered: true })]);
      assert.deepEqual(await client.items(1), ["recovered a"]);
    } else {
      next.socket.close(1011);
      assert.equal((await client.state("failed")).error.code, 4409);
    }
  }
});

test("an interrupted successor is opened again", async (t) => {
  const { server, client, stream } = await openStream(t);
  client.events.subscribe("b");
  client.clock.advance(20);
  const next = await server.stream();
  await replace(stream);
  client.page.network("online");
  await next.closed;
  client.clock.advance(0);
  (await server.stream()).welcome([topic("a:1:0:m", { recovered: true }), topic("b:1:0:m")]);
  assert.deepEqual(await client.items(2), ["recovered a", "subscribed b"]);
});
