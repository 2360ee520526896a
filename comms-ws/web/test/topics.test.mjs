// The cases that the Rust client runs too.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Topics } from "../comms-events.js";

const cases = JSON.parse(readFileSync(new URL("../../src/client/vectors.json", import.meta.url)));

function text(item) {
  switch (item.kind) {
    case "event":
      return `event ${item.frame.topic} ${item.frame.offset ?? "-"}`;
    case "refused":
      return `refused ${item.code} ${item.topic}`;
    default:
      return [item.kind, item.topic, item.reason].filter(Boolean).join(" ");
  }
}

function receive(topics, frame) {
  if (frame.type === "welcome") return topics.welcome(frame);
  return { items: topics.take(frame), frames: [] };
}

for (const { name, wanted, cursor, steps } of cases) {
  test(name, () => {
    const topics = new Topics(wanted, cursor);
    for (const [n, step] of steps.entries()) {
      if ("query" in step) assert.equal(topics.query(), step.query, `step ${n}`);
      const { items, frames } = step.receive ? receive(topics, step.receive) : { items: [], frames: [] };
      if (step.subscribe) frames.push(topics.subscribe(step.subscribe));
      if (step.resubscribe) frames.push(...topics.resubscribe());
      if (step.unsubscribe) frames.push(topics.unsubscribe(step.unsubscribe));
      frames.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
      assert.deepEqual(items.map(text), step.items ?? [], `step ${n}`);
      assert.deepEqual(frames, step.sent ?? [], `step ${n}`);
    }
  });
}

test("malformed frames are errors", () => {
  const topics = new Topics([], "a:1:2:m");
  for (const frame of [
    { type: "event", topic: "a", offset: -1 },
    { type: "event", topic: "a", offset: "3" },
    { type: "event", topic: "a", offset: 2 ** 53 },
    { type: "subscribed", topic: "a", cursor: "a" },
    { type: "welcome", topics: [{}] },
    { type: "welcome", topics: [], pending: 1 },
    { type: "missed", topic: "a", cursor: "a:1:2:m~3" },
    { type: "welcome", topics: [topicWith("?")] },
  ]) {
    assert.throws(() => receive(topics, frame), JSON.stringify(frame));
  }
  assert.deepEqual(topics.take({ type: "later", topic: "a" }), []);
  for (const cursor of ["a", "a:1:2:m~x", "a:1:2:m~1~2", "a:1:2"]) assert.throws(() => new Topics([], cursor), cursor);
  for (const wanted of ["", 7, { topic: "" }, "\ud800"]) assert.throws(() => new Topics([wanted]), String(wanted));
});

const topicWith = (cursor) => ({ topic: "a", cursor });

test("an event stream asks for topics with a filter, and filters them itself", () => {
  const topics = new Topics([{ topic: "f", events: ["paid"], keys: ["a"] }]);
  assert.equal(topics.query(true), "topic=f");
  const { frames } = topics.welcome({ topics: [{ topic: "f", cursor: "f:1:0:m" }] }, true);
  assert.deepEqual(frames, []);
  const event = (offset, event, key) => topics.take({ type: "event", topic: "f", offset, event, key, data: 1 }).length;
  assert.deepEqual([event(1, "paid", "a"), event(2, "made", "a"), event(3, "paid", "b"), event(4, "paid")], [1, 0, 0, 0]);
  assert.equal(topics.cursor, "f:1:0:m~4");
  assert.equal(topics.query(), "cursor=f:1:0:m~4", "over WebSocket, a frame with the filter follows");
});

test("topics that make the query too long are subscribed by frames", () => {
  const wanted = Array.from({ length: 100 }, (_, n) => `${String(n).padStart(3, "0")}${"x".repeat(97)}`);
  const topics = new Topics(wanted);
  const query = topics.query();
  assert.ok(query.length <= 4096, String(query.length));
  const asked = query.split("topic=").length - 1;
  const { frames } = topics.welcome({ topics: wanted.slice(0, asked).map((topic) => ({ topic })) });
  assert.equal(asked + frames.length, 100);
});

test("tokens that make the query too long are sent by frames", () => {
  const name = (n) => `${String(n).padStart(3, "0")}${"x".repeat(197)}`;
  const numbers = Array.from({ length: 100 }, (_, n) => n);
  const topics = new Topics([], numbers.map((n) => `${name(n)}:1:5:m`).join(","));
  const query = topics.query();
  assert.ok(query.length <= 6144 + 10 && query.length > 5000, String(query.length));
  const asked = query.split(":1:5:m").length - 1;
  // The server subscribes the last topic by itself.
  // A topic that the page leaves meanwhile is not subscribed again.
  topics.unsubscribe(name(98));
  const given = numbers.slice(0, asked).map((n) => ({ topic: name(n), cursor: `${name(n)}:1:5:m`, recovered: true }));
  given.push({ topic: name(99), cursor: `${name(99)}:1:9:m` });
  const { items, frames } = topics.welcome({ session: "s", topics: given });
  assert.equal(asked + frames.length, 98);
  assert.ok(frames.every(({ cursor }) => cursor.endsWith(":1:5:m")));
  assert.equal(items.length, asked + 1, "no topic is given up");
  assert.equal(text(items.at(-1)), `missed ${name(99)} history`);
});

test("a malformed `welcome` changes nothing", () => {
  const topics = new Topics(["n"], "a:1:2:m,n:1:3:m");
  topics.query();
  assert.throws(() => topics.welcome({ session: "s", topics: [{ topic: "a", cursor: "a:1:9:m" }, topicWith("?")] }));
  assert.equal(topics.cursor, "a:1:2:m,n:1:3:m");
});

test("a query that would be too long has fewer tokens, and is an error without room for its topics", () => {
  const topics = new Topics(["x", "y"], "a:1:2:m,x:1:3:m,y:1:4:m");
  const all = "topic=x&topic=y&cursor=a:1:2:m,x:1:3:m,y:1:4:m";
  assert.equal(topics.query(true, all.length), all);
  assert.equal(topics.query(true, all.length - 1), "topic=x&topic=y&cursor=a:1:2:m,x:1:3:m");
  assert.equal(topics.query(true, 20), "topic=x&topic=y");
  assert.throws(() => topics.query(true, 14), (error) => error.isFinal && /7000 characters/.test(error.message));
  const given = [{ topic: "x", cursor: "x:1:9:m" }, { topic: "y", cursor: "y:1:4:m", recovered: true }];
  assert.deepEqual(topics.welcome({ session: "s", topics: given }, true).items.map(text).slice(0, 2), [
    "missed x history",
    "recovered y",
  ]);
  const later = new Topics([], "a:1:2:m,b:1:3:m,c:1:4:m");
  assert.equal(later.query(true, 25), "cursor=a:1:2:m,b:1:3:m");
  const resumed = { session: "s", topics: [{ topic: "a", cursor: "a:1:2:m", recovered: true }] };
  assert.deepEqual(later.welcome(resumed, true).items.map(text), [
    "recovered a",
    "unsubscribed b forbidden",
    "unsubscribed c too_many_topics",
  ]);
});
