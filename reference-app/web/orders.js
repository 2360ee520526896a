// The list of one user's orders, newest first. It is read in pages, and updated by pushes.

import { backoff } from "./api.js";
import { Card } from "./cards.js";
import { failureInWords } from "./words.js";

const LONGEST_BACKOFF = 15_000;
const EMPTY = "No orders yet. Place one above and watch it here.";

export class Orders {
  /** Cards by order id. Order ids sort by time. */
  #cards = new Map();
  #next = null;
  #loaded = false;
  #stopped = false;
  #reading = null;
  #stale = false;
  #wake = () => {};

  /** Creates an empty list. `view` has the elements `list`, `state` and `more`, and the function `announce`. */
  constructor(session, view) {
    this.session = session;
    this.view = view;
    view.list.replaceChildren();
    view.more.hidden = true;
    view.more.disabled = false;
    view.more.onclick = () => this.#older();
    view.state.textContent = "Loading the orders…";
  }

  stop() {
    this.#stopped = true;
  }

  /** Reads the shown orders again, with retries until it succeeds. A call during a read causes one more read. */
  refresh() {
    this.#stale = true;
    this.#wake();
    if (!this.#reading) this.#reading = this.#run().finally(() => (this.#reading = null));
    return this.#reading;
  }

  async #run() {
    for (let attempt = 0; this.#stale && !this.#stopped; attempt += 1) {
      this.#stale = false;
      try {
        await this.#read();
      } catch (failure) {
        if (this.#stopped) return;
        this.#stale = true;
        this.#say(`The orders could not be read. ${failureInWords(failure)} Trying again.`);
        await new Promise((resolve) => {
          this.#wake = resolve;
          setTimeout(resolve, Math.max(failure.retryAfter ?? 0, backoff(attempt, LONGEST_BACKOFF)));
        });
      }
    }
  }

  /** Reads the pages from the newest order down to the oldest shown one. */
  async #read() {
    const oldest = this.#oldest();
    let cursor = null;
    let last = "";
    do {
      const page = await this.#page(cursor);
      if (this.#stopped) return;
      cursor = page.next;
      last = page.orders.at(-1)?.order_id ?? "";
    } while (cursor && oldest && last > oldest);
    this.#next = cursor;
    this.#loaded = true;
    this.#say("");
  }

  async #page(cursor) {
    const query = cursor ? `?cursor=${encodeURIComponent(cursor)}` : "";
    const page = await this.session.call(`/v1/orders${query}`);
    if (!this.#stopped) for (const order of page.orders) this.show(order);
    return page;
  }

  async #older() {
    const { more } = this.view;
    if (more.disabled) return;
    more.disabled = true;
    try {
      const page = await this.#page(this.#next);
      if (this.#stopped) return;
      this.#next = page.next;
      this.#say("");
      // The button may be hidden now, so the focus moves to the first order of the page.
      const first = page.orders[0] && this.#cards.get(page.orders[0].order_id);
      first?.root.focus({ preventScroll: true });
    } catch (failure) {
      if (!this.#stopped) this.#say(`Older orders could not be read. ${failureInWords(failure)}`);
    } finally {
      if (!this.#stopped) more.disabled = false;
    }
  }

  /** Shows an order as the API returned it. */
  show(order) {
    const known = this.#cards.get(order.order_id);
    if (known) {
      if (known.update(order, order.updated_at)) this.view.announce(known.inWords);
      return known;
    }
    const card = new Card(order);
    const older = [...this.#cards.values()].filter((other) => other.id < card.id);
    const next = older.reduce((best, other) => (best && best.id > other.id ? best : other), null);
    this.view.list.insertBefore(card.root, next ? next.root : null);
    this.#cards.set(card.id, card);
    this.#say(this.#loaded ? "" : this.view.state.textContent);
    return card;
  }

  /** Applies a push. An order that is not shown is read first, unless it is older than the shown ones. */
  async push({ data, time, traceparent }) {
    let card = this.#cards.get(data.order_id);
    if (!card) {
      const oldest = this.#oldest();
      if (this.#next && oldest && data.order_id < oldest) return;
      const order = await this.session.call(`/v1/orders/${data.order_id}`).catch(() => null);
      if (this.#stopped) return;
      if (!order) return void this.refresh();
      card = this.show(order);
      this.view.announce(card.inWords);
    }
    if (card.update(data, time, traceparent)) this.view.announce(card.inWords);
  }

  #oldest() {
    return [...this.#cards.keys()].reduce((least, id) => (least === null || id < least ? id : least), null);
  }

  #say(text) {
    this.view.state.textContent = text || (this.#cards.size ? "" : EMPTY);
    this.view.more.hidden = !this.#next;
  }
}
