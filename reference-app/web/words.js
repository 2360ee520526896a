// Texts for people: amounts, times, and the statuses of an order.

/** Returns the minor units of a decimal text such as "129.99", or null. Uses no float, so nothing is rounded. */
export function parsePrice(text) {
  const match = /^(\d{1,10})(?:[.,](\d{1,2}))?$/.exec(text.trim());
  return match && Number(match[1] + (match[2] ?? "").padEnd(2, "0"));
}

/** Formats an amount. `minor` may be a number or a BigInt. */
export function money(minor, currency) {
  const format = new Intl.NumberFormat(undefined, { style: "currency", currency });
  const digits = format.resolvedOptions().maximumFractionDigits;
  const text = String(minor).padStart(digits + 1, "0");
  return format.format(digits ? `${text.slice(0, -digits)}.${text.slice(-digits)}` : text);
}

export const dateAndTime = (iso) =>
  new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" }).format(new Date(iso));

export const timeOfDay = (iso) => new Intl.DateTimeFormat(undefined, { timeStyle: "medium" }).format(new Date(iso));

const REFUNDED = "A payment is given back.";

const REASONS = {
  limit_exceeded: "The total is above the payment limit.",
  out_of_stock: `Too few pieces were left. ${REFUNDED}`,
  price_changed: `The ad has another price. ${REFUNDED}`,
  unknown_ad: `There is no such ad. ${REFUNDED}`,
  no_courier: `No courier takes the order. ${REFUNDED}`,
};

const STATUSES = {
  CREATED: ["wait", "Created", "Waiting for the payment."],
  PAID: ["wait", "Paid", "The payment went through. The pieces are being reserved and shipped."],
  SHIPPED: ["wait", "Shipped", "The order is on its way."],
  DELIVERED: ["good", "Delivered", "The order has arrived."],
  PAYMENT_FAILED: ["bad", "Payment failed", "The payment was declined."],
  CANCELLED: ["bad", "Cancelled", `The order was cancelled. ${REFUNDED}`],
};

const plain = (code) => code.replaceAll("_", " ").toLowerCase();

/** Returns a status as `{ tone, name, sentence }`. The tone (`wait`, `good`, `bad`) is never the only sign of it. */
export function statusInWords(status, reason) {
  const [tone, name, sentence] = STATUSES[status] ?? ["wait", plain(status), ""];
  if (!reason) return { tone, name, sentence };
  return { tone, name, sentence: REASONS[reason] ?? `${sentence} Reason: ${plain(reason)}.`.trim() };
}

/** Returns the reason of a failed call as a sentence without terms of the protocol. */
export function failureInWords({ status, problem }) {
  if (status === 0) return navigator.onLine ? "The shop does not answer." : "This device is offline.";
  if (status === 429) return "Too many requests at once.";
  if (status === 504 || status === 408) return "The shop did not answer in time.";
  if (status === 503) return "The shop is busy or restarting.";
  if (status >= 500) return "Something is broken in the shop.";
  if (status === 401) return "You could not be signed in.";
  return problem?.detail || "The shop refused the request.";
}
