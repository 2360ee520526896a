//! The permission for a topic, which the application may have to look up.

use std::{sync::Arc, time::Duration};

use super::{
    grant::Session,
    join::{Join, Start},
    membership::Membership,
};
use crate::{hub::state::HubState, topic::Filter};

/// The time limit of the look-up.
const LIMIT: Duration = Duration::from_secs(5);

/// Returns whether `session` allows `topic`, within the time limit.
pub(super) async fn is_allowed(hub: &HubState, session: &Session, topic: &str) -> bool {
    hub.env.clock.timeout(LIMIT, session.allows(topic)).await.unwrap_or_else(|_| {
        tracing::warn!(limit = ?LIMIT, topic, "the permission for a topic took too long");
        false
    })
}

/// A topic that a session joins at its start.
pub(super) struct Wanted {
    pub(super) membership: Arc<Membership>,
    pub(super) filter: Filter,
    pub(super) start: Start,
    /// The session whose permission is needed. `None`: the topic is granted.
    pub(super) asked: Option<Session>,
}

impl Wanted {
    /// Begins to join the topic, or returns the name of a topic that is not allowed.
    pub(super) async fn begin(self, hub: Arc<HubState>, page: usize) -> Result<Join, String> {
        let Self { membership, filter, start, asked } = self;
        let name = membership.name();
        if let Some(session) = asked
            && !is_allowed(&hub, &session, name).await
        {
            membership.leave();
            return Err(name.to_string());
        }
        Ok(Join::begin(hub, &membership, filter, start, page).await)
    }
}
