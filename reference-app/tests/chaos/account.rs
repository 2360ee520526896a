//! What the databases must hold about an order at its end.

/// The names of the sagas of both variants.
pub(crate) const ORCHESTRATED: &str = "order";
pub(crate) const CHOREOGRAPHED: &str = "order-choreographed";

/// What is ordered.
#[derive(Debug, Clone)]
pub(crate) struct Purchase {
    pub(crate) ad_id: String,
    pub(crate) quantity: i64,
    /// The price of one piece.
    pub(crate) price: i64,
    /// The end of the order. `None` if there are more such orders than pieces: the order is delivered or out of stock.
    pub(crate) end: Option<End>,
}

/// How an order ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Delivered,
    /// The total is above the limit of payment-service.
    Declined,
    /// There are fewer pieces than ordered.
    OutOfStock,
    /// No shipment is possible.
    Refused,
}

/// All that the databases hold about one order. Lists are in the order in which their rows were written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// The events of the stream, with their versions.
    pub(crate) events: Vec<(i64, String)>,
    /// The events for other services, with their sequences.
    pub(crate) statuses: Vec<(i64, String)>,
    pub(crate) notifications: Vec<(i64, String)>,
    /// The status in the buyer's list, with its sequence.
    pub(crate) listed: Vec<(i64, String)>,
    /// The saga, the phase and the state of the run.
    pub(crate) runs: Vec<(String, String, String)>,
    pub(crate) commands: Vec<String>,
    pub(crate) payments: Vec<(String, i64)>,
    pub(crate) charges: Vec<i64>,
    pub(crate) refunds: Vec<i64>,
    pub(crate) reservations: Vec<(String, i64)>,
    pub(crate) shipments: Vec<String>,
    /// The status and the payment in the figures.
    pub(crate) figures: Vec<(String, String)>,
}

impl Account {
    /// Returns the variant of the order's run.
    pub(crate) fn saga(&self) -> &str {
        self.runs.first().map_or("", |(saga, ..)| saga)
    }

    /// Returns the status in the buyer's list.
    pub(crate) fn status(&self) -> &str {
        self.listed.first().map_or("", |(_, status)| status)
    }

    /// Returns the account of an order that has ended, without a second effect of anything, and without a repeated command.
    pub(crate) fn of(purchase: &Purchase, end: End, saga: &str) -> Self {
        let orchestrated = saga == ORCHESTRATED;
        let total = purchase.quantity * purchase.price;
        let is_charged = end != End::Declined;
        let is_refunded = is_charged && end != End::Delivered;
        let (events, statuses, phase, payment, figure) = match end {
            End::Delivered => (
                "placed payment.started paid reserved shipped delivered",
                "CREATED PAID SHIPPED DELIVERED",
                "completed Completed",
                "SUCCEEDED",
                "PAID",
            ),
            End::Declined => (
                "placed payment.started payment.failed",
                "CREATED PAYMENT_FAILED",
                "failed Failed",
                "DECLINED",
                "NONE",
            ),
            End::OutOfStock => (
                "placed payment.started paid cancelled refunded",
                "CREATED PAID CANCELLED",
                "failed Failed",
                "REFUNDED",
                "REFUNDED",
            ),
            End::Refused => (
                "placed payment.started paid reserved cancelled refunded",
                "CREATED PAID CANCELLED",
                "failed Failed",
                "REFUNDED",
                "REFUNDED",
            ),
        };
        let commands = match (end, orchestrated) {
            (End::Delivered, true) => "payment.request stock.reserve stock.confirm shipment.create",
            (End::Delivered, false) => "stock.confirm shipment.create",
            (End::Declined, true) => "payment.request",
            (End::Declined, false) => "",
            (End::OutOfStock, true) => "payment.request stock.reserve payment.cancel",
            (End::OutOfStock, false) => "payment.cancel",
            (End::Refused, true) => {
                "payment.request stock.reserve stock.confirm shipment.create stock.release payment.cancel"
            }
            (End::Refused, false) => "stock.confirm shipment.create stock.release payment.cancel",
        };
        let reservation = match end {
            End::Delivered => Some(("CONFIRMED", purchase.quantity)),
            End::Declined => None,
            End::OutOfStock => Some(("REJECTED", purchase.quantity)),
            End::Refused => Some(("RELEASED", purchase.quantity)),
        };
        let shipment = match end {
            End::Delivered => Some("DELIVERED"),
            End::Refused => Some("REFUSED"),
            End::Declined | End::OutOfStock => None,
        };
        let statuses = numbered(statuses);
        let last = statuses.last().cloned();
        let (phase, state) = phase.split_once(' ').unwrap_or_default();
        Self {
            events: numbered(events),
            notifications: statuses.clone(),
            figures: last.iter().map(|(_, status)| (status.clone(), figure.to_owned())).collect(),
            listed: last.into_iter().collect(),
            statuses,
            runs: vec![(saga.to_owned(), phase.to_owned(), state.to_owned())],
            commands: commands.split_whitespace().map(str::to_owned).collect(),
            payments: vec![(payment.to_owned(), total)],
            charges: is_charged.then_some(total).into_iter().collect(),
            refunds: is_refunded.then_some(total).into_iter().collect(),
            reservations: reservation.into_iter().map(|(status, n)| (status.to_owned(), n)).collect(),
            shipments: shipment.into_iter().map(str::to_owned).collect(),
        }
    }
}

/// Numbers words from 1.
fn numbered(words: &str) -> Vec<(i64, String)> {
    (1..).zip(words.split_whitespace().map(str::to_owned)).collect()
}
