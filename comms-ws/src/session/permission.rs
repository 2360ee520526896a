//! The permission for a topic, which the application may have to look up.

use std::{sync::Arc, time::Duration};

use super::{
    grant::Session,
    join::{Join, Start},
    membership::Membership,
};
use crate::hub::state::HubState;

/// The maximum length of a topic name in bytes.
pub(super) const TOPIC_LIMIT: usize = 256;
/// The error code of a topic that the session does not allow.
pub(super) const FORBIDDEN: &str = "forbidden";
/// The error code of a topic whose permission could not be looked up.
const UNAVAILABLE: &str = "unavailable";
/// The time limit of the look-up.
const LIMIT: Duration = Duration::from_secs(5);

/// Returns the part of a topic that an error shows.
pub(super) fn shown(topic: &str) -> &str {
    &topic[..topic.floor_char_boundary(TOPIC_LIMIT)]
}

/// Looks up whether `session` allows `topic`, within the time limit. Returns the error code if it does not:
/// `unavailable` if the look-up failed, so that the client asks again.
pub(super) async fn look_up(hub: &HubState, session: &Session, topic: &str) -> Result<(), &'static str> {
    match hub.env.clock.timeout(LIMIT, session.allows(topic)).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(FORBIDDEN),
        Ok(Err(error)) => {
            tracing::warn!(topic, error = %error.chain(), "the permission for a topic could not be looked up");
            Err(UNAVAILABLE)
        }
        Err(_) => {
            tracing::warn!(topic, limit = ?LIMIT, "the permission for a topic took too long");
            Err(UNAVAILABLE)
        }
    }
}

/// A topic that a session does not join.
pub(super) struct Refused {
    pub(super) code: &'static str,
    pub(super) topic: String,
}

/// What the beginning of a join has led to. `None`: the session has left the topic.
pub(super) type Begun = Result<Option<Join>, Refused>;

/// A topic that a session joins at its start.
pub(super) struct Wanted {
    pub(super) membership: Arc<Membership>,
    pub(super) start: Start,
    /// The session whose permission is needed. `None`: the topic is granted.
    pub(super) asked: Option<Session>,
}

impl Wanted {
    /// Returns the name of the topic, and where the session begins in it.
    pub(super) fn place(&self) -> (Arc<str>, Start) {
        (self.membership.name().clone(), self.start)
    }

    /// Begins to join the topic, or returns the error code and the name of a topic that is not allowed.
    pub(super) async fn begin(self, hub: Arc<HubState>, page: usize) -> Begun {
        let Self { membership, start, asked } = self;
        let name = membership.name();
        if let Some(session) = asked
            && let Err(code) = look_up(&hub, &session, name).await
        {
            membership.leave();
            return Err(Refused { code, topic: name.to_string() });
        }
        Ok(Join::begin(hub, &membership, start, page).await)
    }
}
