// A client on the npm package eventsource: prints the events.
const { EventSource } = require("eventsource");

const [url, token] = process.argv.slice(2);
// The package has headers of its own, such as Last-Event-ID.
const withToken = (input, init) =>
  fetch(input, { ...init, headers: { ...init.headers, authorization: `Bearer ${token}` } });
const source = new EventSource(url, { fetch: withToken });
source.onmessage = (event) => console.log(JSON.stringify({ frame: JSON.parse(event.data), id: event.lastEventId }));
