// The page: the form, its submission, and the user whose orders are shown. There is at most one submission at a time.

import { Session } from "./api.js";
import { Live } from "./live.js";
import { Orders } from "./orders.js";
import { Submission } from "./submission.js";
import { failureInWords, money, parsePrice } from "./words.js";

const CURRENCY = "RUB";
const MAX_QUANTITY = 1000;
const USER = "comms.user";
const FIELDS = ["user", "ad", "quantity", "price"];
/** The form field for each JSON pointer into the body. */
const FIELD_OF = { "/ad_id": "ad", "/quantity": "quantity", "/price": "price", "/price/minor": "price", "/price/currency": "price" };
/** The shortest time for which a click disables the button, in milliseconds, so that a double click submits once. */
const SHORTEST = 1_000;

const $ = (id) => document.getElementById(id);
const inputs = Object.fromEntries(FIELDS.map((name) => [name, $(name)]));
const button = $("place");

let shown = null; // { user, session, live, orders }
let submission = null;
let announcing = 0;
let focusIsOurs = false;

// ---- the user ----

const isUser = (name) => /^[A-Za-z0-9_-]{1,64}$/.test(name);

function remembered() {
  try {
    const name = localStorage.getItem(USER);
    return name && isUser(name) ? name : null;
  } catch {
    return null;
  }
}

/** Shows the orders of `user` and opens a socket. Does nothing if the user is shown already. */
function enter(user) {
  if (shown?.user === user) return shown;
  shown?.live.stop();
  shown?.orders.stop();
  try {
    localStorage.setItem(USER, user);
  } catch {
    // Without storage, the user must enter the name again after a reload.
  }
  $("orders-title").textContent = `Orders of ${user}`;
  const session = new Session(user);
  const orders = new Orders(session, { list: $("orders"), state: $("orders-state"), more: $("more"), announce });
  orders.refresh();
  const live = new Live(session, {
    state: connection,
    // The orders are read after the subscription, so that no change is missed between the two.
    read: () => orders.refresh(),
    event: (frame) => orders.push(frame),
  });
  shown = { user, session, live, orders };
  return shown;
}

function connection(state) {
  const words = {
    connecting: "Connecting…",
    open: "Live",
    refused: "No connection yet, trying again…",
    lost: "Connection lost, reconnecting…",
  };
  $("connection").className = `pill ${state}`;
  $("connection").textContent = words[state];
}

function announce(text) {
  const region = $("announce");
  region.textContent = text;
  // The text is removed after a screen reader has announced it, so that it is not read again with the page.
  clearTimeout(announcing);
  announcing = setTimeout(() => (region.textContent = ""), 5_000);
}

// ---- the form ----

function fieldError(name, text) {
  $(`${name}-error`).textContent = text;
  if (text) inputs[name].setAttribute("aria-invalid", "true");
  else inputs[name].removeAttribute("aria-invalid");
}

/** Returns the fields as an order. If a field is invalid, shows an error beside it and returns null. */
function read() {
  const [user, ad, quantity, price] = FIELDS.map((name) => inputs[name].value.trim());
  const minor = parsePrice(price);
  const pieces = /^\d{1,4}$/.test(quantity) ? Number(quantity) : 0;
  fieldError("user", isUser(user) ? "" : "Use letters, digits, - and _.");
  fieldError("ad", ad ? "" : "Name an ad.");
  fieldError("quantity", pieces >= 1 && pieces <= MAX_QUANTITY ? "" : `A whole number from 1 to ${MAX_QUANTITY}.`);
  fieldError("price", minor ? "" : "An amount above zero, such as 129.99.");
  if (focusFirstError()) return null;
  return { user, order: { ad_id: ad, quantity: pieces, price: { minor, currency: CURRENCY } } };
}

function focusFirstError() {
  const wrong = FIELDS.find((name) => inputs[name].hasAttribute("aria-invalid"));
  if (wrong) inputs[wrong].focus();
  return wrong;
}

function total() {
  const minor = parsePrice(inputs.price.value);
  const pieces = inputs.quantity.value.trim();
  const known = minor !== null && /^\d{1,4}$/.test(pieces);
  $("total").textContent = known ? money(BigInt(minor) * BigInt(pieces), CURRENCY) : "–";
}

function notice(tone, text, { trace = "", actions = false } = {}) {
  $("notice").dataset.tone = tone;
  $("hint").hidden = text !== "";
  $("notice-text").textContent = text;
  $("notice-trace").textContent = trace && `Trace ${trace}`;
  $("notice-actions").hidden = !actions;
}

const clearNotice = () => notice("", "");

function busy(on) {
  const focused = document.activeElement === button;
  button.disabled = on;
  button.textContent = on ? "Placing…" : "Place order";
  for (const input of Object.values(inputs)) input.readOnly = on;
  // A button loses the focus when it is disabled or hidden. It gets the focus back, unless the user has moved it.
  if (on) focusIsOurs = focused;
  else if (focusIsOurs && document.activeElement === document.body) button.focus();
}

// ---- the submission ----

async function settle(current) {
  submission = current;
  busy(true);
  clearNotice();
  const { session, orders } = enter(current.user);
  const shortest = new Promise((resolve) => setTimeout(resolve, SHORTEST));
  const result = await current.settle(session, (failure) => waiting(current, failure));
  clearNotice();
  if (result.order) placed(orders.show(result.order));
  if (result.stopped) stopped(current);
  await shortest;
  submission = null;
  busy(false);
  if (result.refused) refused(current, result.refused);
}

function placed(card) {
  card.root.classList.add("new");
  card.root.scrollIntoView({ block: "nearest" });
  announce(`Order placed. ${card.inWords}`);
}

function waiting(current, failure) {
  const outcome = current.unknown
    ? "It is not known yet whether your order was placed."
    : "Your order is not placed yet.";
  const promise = current.unknown ? "; it will not be placed twice." : ".";
  notice("wait", `${outcome} ${failureInWords(failure)} Trying again${promise}`, {
    trace: failure.problem?.trace_id,
    actions: true,
  });
}

function stopped(current) {
  const text = current.unknown
    ? "Stopped. Your order may have been placed: look for it in the list before you place another."
    : "Stopped. Your order was not placed.";
  notice(current.unknown ? "wait" : "bad", text);
  shown.orders.refresh();
}

function refused(current, failure) {
  const errors = failure.problem?.errors ?? [];
  let beside = 0;
  for (const { pointer, detail } of errors) {
    const name = FIELD_OF[pointer];
    if (!name) continue;
    fieldError(name, sentence(detail));
    beside += 1;
  }
  if (failure.unsent) fieldError("user", sentence(failureInWords(failure)));
  const why = beside && beside === errors.length ? "See the marked fields." : failureInWords(failure);
  const doubt = current.unknown ? " An earlier attempt had no answer: look in the list first." : "";
  notice("bad", `Your order was not accepted. ${why}${doubt}`, { trace: failure.problem?.trace_id });
  focusFirstError();
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

// ---- events of the user ----

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (submission) return;
  const wanted = read();
  if (!wanted) return notice("bad", "Your order was not sent. See the marked fields.");
  const form = Object.fromEntries(FIELDS.map((name) => [name, inputs[name].value]));
  settle(Submission.begin(wanted.user, form, wanted.order));
});
// A held Enter key repeats the event, and must submit once.
$("form").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.repeat) event.preventDefault();
});
for (const name of FIELDS) {
  inputs[name].addEventListener("input", () => {
    fieldError(name, "");
    if (!submission) clearNotice();
    total();
  });
}
inputs.user.addEventListener("change", () => {
  const user = inputs.user.value.trim();
  if (!submission && isUser(user)) enter(user);
});
$("notice-actions").addEventListener("click", ({ target }) => {
  focusIsOurs = true;
  if (target.id === "retry") submission?.retryNow();
  if (target.id === "stop") submission?.stop();
});
addEventListener("online", () => {
  shown?.live.retryNow();
  submission?.retryNow();
});

// ---- the start ----

const interrupted = Submission.restore();
const user = interrupted?.user ?? remembered();
if (interrupted) for (const name of FIELDS) inputs[name].value = interrupted.form[name];
else if (user) inputs.user.value = user;
total();
if (interrupted) settle(interrupted);
else if (user) enter(user);
else $("orders-state").textContent = "Your orders will be shown here.";
