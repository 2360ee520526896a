//! The projection that builds the figures from the stored events, and the deletion of figures that were replaced.

use std::{collections::BTreeMap, time::Duration};

use comms_core::{Error, clock::Clock, event, event_sourcing::Recorded, shutdown::ShutdownSignal};

use super::{PROJECTION, domain::Changes, store};
use crate::{
    contracts::OrderStatusChanged,
    platform::{
        db::{Db, Tx},
        service::{Loop, Run},
    },
};

/// The interval between two searches for figures that were replaced.
const PURGE_INTERVAL: Duration = Duration::from_secs(5);

/// Applies a batch of events to the figures of `revision`.
///
/// # Errors
/// Returns `Misconfigured` if a higher revision is the live one: the rows of this revision are deleted then, and must
/// not be written again. Otherwise returns the errors of [`Changes::add`] and [`store`].
pub(super) async fn apply(revision: u32, events: Vec<Recorded>, mut tx: Tx) -> Result<(), Error> {
    let live = store::live_revision(&mut tx).await?;
    if live.is_some_and(|live| live > i64::from(revision)) {
        let live = live.unwrap_or_default();
        return Err(Error::misconfigured(format!(
            "analytics.revision is {revision}, and revision {live} is the live one: set {live} or more"
        )));
    }
    let (mut orders, mut changes, mut recorded_at) = (BTreeMap::new(), Changes::default(), Duration::ZERO);
    for Recorded { message, recorded_at: at, .. } in events {
        recorded_at = recorded_at.max(at);
        let Some(change) = event::read::<OrderStatusChanged>(&message)? else { continue };
        let known = match orders.remove(&change.order_id) {
            None => store::order(&mut tx, revision, &change.order_id).await?,
            known => known,
        };
        let next = changes.add(known.as_ref(), &change)?;
        if let Some(order) = next.or(known) {
            orders.insert(change.order_id, order);
        }
    }
    for (order_id, order) in &orders {
        store::save_order(&mut tx, revision, order_id, order).await?;
    }
    store::save_changes(&mut tx, revision, changes).await?;
    store::save_applied(&mut tx, revision, recorded_at).await
}

/// Returns the loop that deletes the figures of revisions below the live one.
pub(super) fn purge_loop(db: Db, clock: Clock) -> Loop {
    let run = move |shutdown: ShutdownSignal| Box::pin(purge_until(db, clock, shutdown)) as Run;
    Loop { name: "analytics purge", run: Box::new(run) }
}

async fn purge_until(db: Db, clock: Clock, shutdown: ShutdownSignal) -> Result<(), Error> {
    let purge = async {
        db.opened().await;
        loop {
            if let Err(error) = purge(&db).await {
                tracing::warn!(error = %error.chain(), "figures that were replaced are not deleted yet");
            }
            clock.sleep(PURGE_INTERVAL).await;
        }
    };
    tokio::select! {
        biased;
        () = shutdown.wait() => Ok(()),
        () = purge => Ok(()),
    }
}

/// Deletes the figures of revisions below the live one.
pub(super) async fn purge(db: &Db) -> Result<(), Error> {
    let Some(live) = db.live_revision(PROJECTION).await? else { return Ok(()) };
    if store::has_older(db, live).await? {
        store::delete_older(db, live).await?;
        tracing::info!(live, "deleted the figures of older revisions");
    }
    Ok(())
}
