//! The gRPC server of analytics-service.

use comms_core::Error;
use comms_grpc::to_status;
use comms_outbox::ProjectionState;
use tonic::{Request, Response, Status};

use super::{
    PROJECTION,
    domain::{DAY, HOUR},
    store,
};
use crate::{
    contracts::analytics::{
        MAX_RANGE,
        proto::{Freshness, OrdersReply, Range, RevenueReply, analytics_server::Analytics},
    },
    platform::db::{Db, ProjectionHandle},
};

pub(super) struct Api {
    pub(super) db: Db,
    pub(super) handle: ProjectionHandle,
}

#[tonic::async_trait]
impl Analytics for Api {
    async fn get_orders(&self, request: Request<Range>) -> Result<Response<OrdersReply>, Status> {
        let reply = self.orders(request.get_ref()).await.map_err(|e| to_status(&e))?;
        Ok(Response::new(reply))
    }

    async fn get_revenue(&self, request: Request<Range>) -> Result<Response<RevenueReply>, Status> {
        let reply = self.revenue(request.get_ref()).await.map_err(|e| to_status(&e))?;
        Ok(Response::new(reply))
    }
}

impl Api {
    async fn orders(&self, range: &Range) -> Result<OrdersReply, Error> {
        let (from, to) = whole(range, HOUR)?;
        // Before the figures, so that the figures are at least as fresh.
        let freshness = Some(self.freshness().await?);
        Ok(OrdersReply { freshness, counts: store::hours(&self.db, from, to).await? })
    }

    async fn revenue(&self, range: &Range) -> Result<RevenueReply, Error> {
        let (from, to) = whole(range, DAY)?;
        let freshness = Some(self.freshness().await?);
        Ok(RevenueReply { freshness, days: store::revenue(&self.db, from, to).await? })
    }

    /// Returns how recent the live figures are.
    ///
    /// # Errors
    /// Returns `NotExecuted` if no revision of the figures has been built.
    async fn freshness(&self) -> Result<Freshness, Error> {
        let live = self.db.live_revision(PROJECTION).await?;
        let live =
            live.ok_or_else(|| Error::not_executed("the figures are being built for the first time"))?;
        let status = self.handle.status();
        let builds = status.revision == live && status.state != ProjectionState::Standby;
        let lag_events = builds.then_some(status.lag_events);
        Ok(Freshness { as_of: store::as_of(&self.db).await?, lag_events })
    }
}

/// Returns the range from the start of the first unit that overlaps `range`, in seconds. The gateway has checked the same
/// rules; this check is for other callers.
///
/// # Errors
/// Returns `Invalid` if the range is empty, begins before 1970, or is longer than 31 days.
fn whole(range: &Range, unit: i64) -> Result<(i64, i64), Error> {
    let Range { from, to } = *range;
    let length =
        to.checked_sub(from).and_then(|length| u64::try_from(length).ok()).filter(|length| *length > 0);
    if from < 0 || length.is_none_or(|length| length > MAX_RANGE.as_secs()) {
        return Err(Error::invalid("a range begins after 1970, is not empty, and has at most 31 days"));
    }
    Ok((from - from % unit, to))
}
