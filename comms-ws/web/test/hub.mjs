// Reads the events of a hub (argument 1: its address) with three clients, each at the cursor of the one before: over
// WebSocket, over SSE, and over WebSocket again. Prints what they dispatch, as JSON.

import { CommsEvents } from "../comms-events.js";

const [, , address] = process.argv;
const items = [];
let published = 0;

async function publish() {
  const body = String(published + 1);
  published += 3;
  const response = await fetch(`${address}/publish`, { method: "POST", body });
  if (!response.ok) throw new Error(`status ${response.status}`);
}

/** Reads until the last event that was published, and publishes more once the client is connected. */
async function read(cursor, options) {
  // The hub subscribes `user/ann` by itself, and the frame sets its filter.
  const user = { topic: "user/ann", events: ["even", "odd"] };
  const topics = [user, { topic: "news", events: ["even"] }, "secret"];
  const client = new CommsEvents(`${address}/v1/events`, { token: () => "ann", topics, cursor, ...options });
  await new Promise((resolve, reject) => {
    const open = new Set();
    const has = (wanted, number) => items.some(([kind, topic, n]) => kind === "event" && topic === wanted && n === number);
    const done = () => open.size === 3 && has("user/ann", published) && has("news", published - (published % 2));
    client.addEventListener("topic", async ({ detail: { change, topic } }) => {
      items.push([change, topic]);
      open.add(topic);
      if (open.size === 3) {
        await publish();
        if (done()) resolve();
      }
    });
    client.addEventListener("missed", ({ detail: { topic, reason } }) => items.push(["missed", topic, reason]));
    client.addEventListener("event", ({ detail: { topic, data } }) => {
      items.push(["event", topic, data.n]);
      if (done()) resolve();
    });
    client.addEventListener("state", ({ detail: { error } }) => error && reject(error));
  });
  const result = client.cursor;
  client.close();
  return result;
}

let cursor = await read("", {});
await publish();
cursor = await read(cursor, { WebSocket: null });
await publish();
await read(cursor, {});
console.log(JSON.stringify(items));
