//! Takes the lease and restores the stored state of the relay.

use comms_core::Error;

use super::state::{MIN_PAUSE, Session};
use crate::relay::{
    call::{CALL_LIMIT, limited},
    context::RelayContext,
    parking::Parking,
    plan::plan,
    released::Released,
    store::{Changes, LeaseHolder, LeaseRequest},
    tracks::Tracks,
};

impl<'a> Session<'a> {
    /// Takes the lease. Returns `None` while another owner has it.
    pub(in crate::relay) async fn begin(context: &'a RelayContext) -> Result<Option<Self>, Error> {
        let settings = &context.settings;
        let commits = context.commit_signal.subscribe();
        let requested_at = context.clock.now();
        let named = settings.topics.as_deref();
        let request = LeaseRequest {
            relay: &settings.name,
            owner: &settings.owner,
            lease: settings.lease,
            covers: named,
            start: settings.start,
        };
        let Some(lease) = limited(&context.clock, CALL_LIMIT, context.store.acquire(&request)).await? else {
            return Ok(None);
        };
        tracing::info!(relay = %settings.name, token = %lease.token, "relay took the lease");
        let holder =
            LeaseHolder { relay: settings.name.clone(), token: lease.token.clone(), lease: settings.lease };
        let plan = plan(&lease, named, &context.store.oldest(), settings.start);
        let moved = plan.main != lease.position;
        let covers = (plan.covers != lease.covers).then(|| plan.covers.clone());
        let mut session = Self {
            context,
            holder,
            lease_valid_until: requested_at + settings.lease,
            tracks: Tracks::new(plan.main, plan.covers, settings.topics.clone()),
            parking: Parking::default(),
            released: Released::new(&context.clock),
            pending: Changes { covers, ..Changes::default() },
            unsaved: false,
            progress: false,
            draining: false,
            commits,
            pause: MIN_PAUSE,
            next_save: Box::pin(context.clock.sleep(settings.lease / 3)),
        };
        for branch in lease.branches {
            session.tracks.restore(branch, &context.clock);
        }
        for (topic, position) in plan.begin {
            tracing::info!(relay = %settings.name, %topic, "topic begins at a separate position");
            if session.tracks.names(&topic) {
                session.tracks.begin_branch(topic, position);
            } else {
                session.pending.branches.push(session.tracks.exclude_unnamed(topic, position));
            }
        }
        session.load_parked().await?;
        // The plan is stored before any row is read under it.
        let unsaved = moved || !session.pending.is_empty() || session.tracks.has_unsaved();
        if unsaved && !session.save().await? {
            return Ok(None);
        }
        Ok(Some(session))
    }
}
