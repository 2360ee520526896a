// A page with one client, which a test starts. It keeps what the client dispatches.

import { CommsEvents } from "/comms-events.js";

/** The numbers of the events in the order of their arrival. */
window.numbers = [];
/** The last event. */
window.last = null;
/** The waits between attempts in milliseconds. */
window.waits = [];
/** Everything else as text, with the calls of the token source. */
window.log = [];

addEventListener("securitypolicyviolation", ({ violatedDirective }) => log.push(`violation ${violatedDirective}`));
addEventListener("error", ({ message }) => log.push(`error ${message}`));
addEventListener("pageshow", ({ persisted }) => persisted && log.push("restored"));
document.addEventListener("visibilitychange", () => log.push(document.visibilityState));

/** Starts the client of the user `ann`. */
window.start = (options = {}) => {
  const token = ({ refused }) => {
    log.push(`token${refused ? " refused" : ""}`);
    return "ann";
  };
  const events = new CommsEvents("/v1/events", { token, ...options });
  events.addEventListener("event", ({ detail }) => {
    numbers.push(detail.data.n);
    window.last = detail;
  });
  events.addEventListener("missed", ({ detail }) => log.push(`missed ${detail.reason}`));
  events.addEventListener("topic", ({ detail }) => log.push(`${detail.change} ${detail.topic}`));
  events.addEventListener("state", ({ detail }) => {
    log.push([detail.state, detail.transport].filter(Boolean).join(" "));
    if (detail.error) log.push(detail.error.message);
    if (detail.state === "waiting") waits.push(detail.retryIn);
  });
  window.events = events;
};

/** What a test that has failed prints. */
window.report = () => ({ count: numbers.length, numbers: numbers.slice(-20), log: log.slice(-100) });

/** Returns how often `text` is in the log. */
window.count = (text) => log.filter((one) => one === text).length;
window.isReady = true;
