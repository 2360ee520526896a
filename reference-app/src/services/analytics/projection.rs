//! The projection that builds the figures from the stored events, and the deletion of figures that were replaced.

use std::{collections::BTreeMap, time::Duration};

use comms_core::{Error, event, event_sourcing::Recorded, health::Heartbeat};

use super::{PROJECTION, domain::Changes, store};
use crate::{
    contracts::OrderStatusChanged,
    platform::{
        db::{Db, Tx},
        service::Sweep,
    },
};

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

/// The figures of revisions below the live one.
pub(super) struct Replaced(pub(super) Db);

impl Sweep for Replaced {
    async fn sweep(&self, heartbeat: &Heartbeat) -> Result<(), Error> {
        let Some(live) = self.0.live_revision(PROJECTION).await? else { return Ok(()) };
        if store::has_older(&self.0, live).await? {
            store::delete_older(&self.0, live, heartbeat).await?;
            tracing::info!(live, "deleted the figures of older revisions");
        }
        Ok(())
    }
}
