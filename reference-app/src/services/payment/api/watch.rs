//! The stream of the statuses of a payment.
//!
//! A watch reads the row of the payment again after each pause, until the status is final. The row determines every status
//! that the payment has entered, so a watch that begins after any of them, in any process, misses none. Nothing waits in
//! memory: a status is read when the caller can take it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use comms_core::{Error, clock::Clock, context::Context, shutdown::ShutdownSignal};
use comms_grpc::to_status;
use futures::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::codegen::BoxStream;

use crate::{
    contracts::payment::proto::{PaymentUpdate, WatchPaymentRequest},
    services::payment::{domain::Payment, store::Store},
};

/// The pause between two reads of a payment.
const PAUSE: Duration = Duration::from_millis(250);
/// The number of watches that are open in the process at once: half of the calls that a connection admits, so that the
/// watches of one caller leave room for its other calls.
const MAX_OPEN: usize = 128;
/// The wait of a caller that is refused because too many watches are open.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Opens the watches of this process.
pub(in crate::services::payment) struct Watches {
    store: Store,
    clock: Clock,
    drain: ShutdownSignal,
    permits: Arc<Semaphore>,
}

impl Watches {
    /// Creates the watches, which end when `drain` fires.
    pub(in crate::services::payment) fn new(store: Store, clock: Clock, drain: ShutdownSignal) -> Self {
        Self { store, clock, drain, permits: Arc::new(Semaphore::new(MAX_OPEN)) }
    }

    /// Returns the stream of `request`.
    ///
    /// # Errors
    /// Returns `Rejected` if [`MAX_OPEN`] watches are open, `NotFound` if the order has no payment, `Invalid` if the payment
    /// has not yet reached `after_sequence`, and the errors of the database.
    pub(super) async fn open(&self, request: WatchPaymentRequest) -> Result<BoxStream<PaymentUpdate>, Error> {
        let WatchPaymentRequest { order_id, after_sequence } = request;
        let permit = self.permits.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Error::rejected("too many open watches", Some(RETRY_AFTER)))?;
        let current = self.store.history(&order_id).await?.pop();
        let current = current.ok_or_else(|| Error::not_found("no payment of this order"))?.sequence;
        let after = i64::try_from(after_sequence).unwrap_or(i64::MAX);
        if after > current {
            return Err(Error::invalid(format!("after_sequence is above {current}, the current sequence")));
        }
        let left = Context::current().deadline.and_then(|deadline| deadline.remaining(&self.clock));
        let watch = Watch {
            store: self.store.clone(),
            clock: self.clock.clone(),
            drain: self.drain.clone(),
            order_id,
            after,
            ends: left.map(|left| self.clock.now() + left / 5 * 4),
            _permit: permit,
        };
        Ok(watch.stream())
    }
}

/// One call.
struct Watch {
    store: Store,
    clock: Clock,
    drain: ShutdownSignal,
    order_id: String,
    /// The sequence of the last update of the stream.
    after: i64,
    /// When the stream ends, so that it ends without an error before the deadline.
    ends: Option<Instant>,
    _permit: OwnedSemaphorePermit,
}

impl Watch {
    fn stream(self) -> BoxStream<PaymentUpdate> {
        Box::pin(stream::unfold(Some(self), |watch| async {
            let mut watch = watch?;
            match watch.next().await {
                Ok(update) => update.map(|update| (Ok(update), Some(watch))),
                Err(error) => Some((Err(to_status(&error)), None)),
            }
        }))
    }

    /// Returns the next update, or `None` at the end of the stream.
    async fn next(&mut self) -> Result<Option<PaymentUpdate>, Error> {
        loop {
            let history = self.store.history(&self.order_id).await?;
            let is_over = history.last().is_none_or(|current| current.status.is_final());
            if let Some(entered) = history.into_iter().find(|entered| entered.sequence > self.after) {
                self.after = entered.sequence;
                return Ok(Some(update(entered)));
            }
            if is_over || self.pause().await {
                return Ok(None);
            }
        }
    }

    /// Waits before the next read. Returns whether the stream ends instead.
    async fn pause(&self) -> bool {
        let resumes = self.clock.now() + PAUSE;
        let (until, ends) = match self.ends {
            Some(ends) if ends <= resumes => (ends, true),
            _ => (resumes, false),
        };
        tokio::select! {
            () = self.drain.clone().wait() => true,
            () = self.clock.sleep_until(until) => ends,
        }
    }
}

fn update(payment: Payment) -> PaymentUpdate {
    PaymentUpdate {
        changed_at: payment.changed_at(),
        payment_id: payment.payment_id,
        order_id: payment.order_id,
        status: <&str>::from(payment.status).to_owned(),
        sequence: payment.sequence.unsigned_abs(),
        reason: payment.reason,
        is_final: payment.status.is_final(),
    }
}
