// The card of one order.

import { dateAndTime, money, statusInWords, timeOfDay } from "./words.js";

/** Creates an element with a class and a text. The text is not parsed as markup. */
function element(name, className = "", text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function time(iso, text) {
  const made = element("time", "", text);
  made.dateTime = iso;
  return made;
}

function fact(name, value) {
  const made = element("div");
  const description = element("dd");
  description.append(value);
  made.append(element("dt", "", name), description);
  return made;
}

export class Card {
  #status = element("p", "status");
  #sentence = element("p", "sentence");
  #history = element("ol", "history");
  #trace = element("p", "", "Trace: not known on this page");
  /** The changes of status by sequence: `{ name, at }`. */
  #changes = new Map();

  /** `order` is an order as the API returns it. */
  constructor(order) {
    this.id = order.order_id;
    this.ad = order.ad_id;
    this.sequence = 0;
    this.root = element("article", "card");
    this.root.tabIndex = -1;
    const title = element("h3", "", order.ad_id);
    title.id = `order-${order.order_id}`;
    this.root.setAttribute("aria-labelledby", title.id);
    const head = element("header");
    head.append(title, this.#status);
    const facts = element("dl");
    facts.append(
      fact("Quantity", String(order.quantity)),
      fact("Price per piece", money(order.price.minor, order.price.currency)),
      fact("Total", money(order.total.minor, order.total.currency)),
      fact("Placed", time(order.created_at, dateAndTime(order.created_at))),
    );
    this.#history.setAttribute("aria-label", "History");
    const support = element("details");
    support.append(element("summary", "", "Details for support"));
    support.append(element("p", "", `Order: ${order.order_id}`), this.#trace);
    this.root.append(head, facts, this.#sentence, this.#history, support);
    this.#note(1, "CREATED", null, order.created_at);
    this.update(order, order.updated_at);
  }

  /**
   * Applies a status from a push or from the API. Statuses may come in any order and repeatedly. Returns whether the status
   * is newer than the shown one.
   */
  update({ status, sequence, reason }, at, traceparent) {
    if (traceparent) this.#trace.textContent = `Trace: ${traceparent.split("-")[1]}`;
    this.#note(sequence, status, reason, at);
    if (sequence <= this.sequence) return false;
    this.sequence = sequence;
    const words = statusInWords(status, reason);
    this.root.dataset.tone = words.tone;
    this.#status.textContent = words.name;
    this.#sentence.textContent = words.sentence;
    this.inWords = `Order of ${this.ad}: ${words.name}. ${words.sentence}`;
    return true;
  }

  #note(sequence, status, reason, at) {
    if (this.#changes.has(sequence)) return;
    this.#changes.set(sequence, { name: statusInWords(status, reason).name, at });
    const sorted = [...this.#changes].sort(([left], [right]) => left - right);
    const items = sorted.map(([, change]) => {
      const item = element("li", "", `${change.name} `);
      item.append(time(change.at, timeOfDay(change.at)));
      return item;
    });
    this.#history.replaceChildren(...items);
  }
}
