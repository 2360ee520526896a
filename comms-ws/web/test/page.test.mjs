// The page: its network, and whether it is visible.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, Server, topic, until } from "./support.mjs";

test("the client reconnects at once when the network is back", async (t) => {
  const server = await Server.start(t);
  const client = new Client(t, server, { backoff: { base: 30_000 } });
  const peer = await server.peer();
  peer.welcome([topic("a:1:0:m")]);
  await client.items(1);
  client.page.network("offline");
  assert.match((await client.state("waiting")).error.message, /offline/);
  await peer.closed;
  client.page.network("online");
  client.clock.advance(0);
  const next = await server.peer();
  assert.equal(next.query, "cursor=a:1:0:m");
  next.welcome([topic("a:1:0:m", { recovered: true })]);
  assert.deepEqual(await client.items(1), ["recovered a"]);
});

test("an attempt on the old network is replaced when the network is back", async (t) => {
  const server = await Server.start(t);
  const client = new Client(t, server);
  (await server.peer()).socket.close(4401);
  await client.retry();
  const silent = await server.peer();
  client.page.network("online");
  await silent.closed;
  client.clock.advance(0);
  (await server.peer()).welcome();
  await client.state("open");
  // The new token is not requested twice.
  assert.deepEqual(client.hints, [false, true, false]);
});

test("a page that is left ends its session, and resumes it when it is restored", async (t) => {
  const server = await Server.start(t);
  const client = new Client(t, server, { backoff: { base: 30_000 } });
  const peer = await server.peer();
  peer.welcome([topic("a:1:0:m")]);
  await client.items(1);
  client.page.network("pagehide", { persisted: true });
  assert.equal(await peer.closed, 1000);
  assert.match((await client.state("waiting")).error.message, /left/);
  assert.equal(client.clock.timers, 0);
  client.page.network("pageshow", { persisted: true });
  client.clock.advance(0);
  const next = await server.peer();
  assert.equal(next.query, "cursor=a:1:0:m");
  next.welcome([topic("a:1:0:m", { recovered: true })]);
  assert.deepEqual(await client.items(1), ["recovered a"]);
});

test("an attempt that is interrupted is not taken for a blocked WebSocket", async (t) => {
  const server = await Server.start(t);
  const client = new Client(t, server);
  for (let n = 0; n < 3; n++) {
    await server.peer();
    client.page.network("pagehide", { persisted: true });
    client.page.network("pageshow", { persisted: true });
    client.clock.advance(0);
  }
  (await server.peer()).welcome();
  await client.state("open");
  assert.deepEqual(new Set(server.requests), new Set(["ws"]));
});

test("the client reconnects at once when the page is shown", async (t) => {
  const server = await Server.start(t);
  server.status = 503;
  const client = new Client(t, server, { backoff: { base: 30_000 } });
  await client.state("waiting");
  server.status = 200;
  client.page.document.visibilityState = "hidden";
  client.page.show();
  client.clock.advance(0);
  assert.deepEqual(server.requests, ["ws"]);
  client.page.document.visibilityState = "visible";
  client.page.show();
  client.clock.advance(0);
  await server.peer();
});

test("an attempt that was open while the page was hidden is replaced when it is shown", async (t) => {
  const server = await Server.start(t);
  const client = new Client(t, server);
  const set = (state) => {
    client.page.document.visibilityState = state;
    client.page.show();
  };
  const silent = await server.peer();
  set("hidden");
  client.clock.advance(3000);
  set("visible");
  await silent.closed;
  assert.match((await client.state("waiting")).error.message, /hidden/);
  set("hidden");
  client.clock.advance(0);
  const second = await server.peer(); // begins while the page is hidden
  set("visible");
  await second.closed;
  client.clock.advance(0);
  const third = await server.peer();
  set("visible"); // the page was not hidden meanwhile
  third.welcome();
  await client.state("open");
  assert.deepEqual([server.requests.length, client.hints.length], [3, 3]);
});

test("a page that is shown does not request a second token before the first has arrived", async (t) => {
  const server = await Server.start(t);
  let calls = 0;
  let give;
  const token = () => new Promise((resolve) => ((calls += 1), (give = resolve)));
  const client = new Client(t, server, { token });
  for (const state of ["hidden", "visible"]) {
    client.page.document.visibilityState = state;
    client.page.show();
    client.clock.advance(0);
  }
  assert.equal(calls, 1);
  give("t");
  (await server.peer()).welcome();
  await client.state("open");
  assert.equal(calls, 1);
});

test("a connection that died while the page was hidden is noticed when it is shown", async (t) => {
  const server = await Server.start(t);
  const client = new Client(t, server);
  const peer = await server.peer();
  peer.welcome([topic("a:1:0:m")]);
  await client.items(1);
  client.page.show();
  assert.deepEqual(await peer.frame(), { type: "ping" });
  peer.send({ type: "pong" });
  peer.event("a", 1);
  await client.items(1);
  client.clock.advance(5000);
  assert.equal(client.events.state, "open");
  client.page.show();
  assert.deepEqual(await peer.frame(), { type: "ping" });
  client.clock.advance(5000);
  assert.match((await client.retry()).error.message, /no answer/);
  assert.equal((await server.peer()).query, "cursor=a:1:0:m~1");
});

test("a closed client does not listen to the page", async (t) => {
  const server = await Server.start(t);
  const client = new Client(t, server);
  await server.peer();
  client.events.close();
  client.page.network("offline");
  client.page.network("online");
  client.page.show();
  client.clock.advance(1_000_000);
  assert.deepEqual([client.events.state, client.clock.timers, server.requests.length], ["closed", 0, 1]);
});
