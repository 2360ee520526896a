// Reads the events of a hub (argument 1: its address) with a window of 2 and a listener that needs a while for each. Prints
// the numbers of the events in the order in which they were handled, and how many were in hand at most, as JSON.

import { CommsEvents } from "../comms-events.js";

const [, , address] = process.argv;
const EVENTS = 12;
const client = new CommsEvents(`${address}/v1/events`, { token: () => "ann", topics: [{ topic: "user/ann", window: 2 }] });
const numbers = [];
let [inHand, most] = [0, 0];

async function handle({ n }) {
  inHand += 1;
  most = Math.max(most, inHand);
  await new Promise((resolve) => setTimeout(resolve, 5));
  inHand -= 1;
  numbers.push(n);
}

client.addEventListener("event", (event) => event.waitUntil(handle(event.detail.data)));
await new Promise((resolve, reject) => {
  client.addEventListener("topic", resolve);
  client.addEventListener("state", ({ detail: { error } }) => error && reject(error));
});
for (let first = 1; first < EVENTS; first += 3) {
  await fetch(`${address}/publish`, { method: "POST", body: String(first) });
}
while (numbers.length < EVENTS) await new Promise((resolve) => setTimeout(resolve, 5));
// The last acknowledgement.
await new Promise((resolve) => setTimeout(resolve, 300));
client.close();
console.log(JSON.stringify({ numbers, most }));
