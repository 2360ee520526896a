//! The first frame of a session, and its first topics.

use std::sync::Arc;

use super::{
    join::Join,
    permission::{Wanted, shown},
};
use crate::{
    connection::{Connection, Item},
    feed::PAGE_BYTES,
    hub::state::HubState,
    protocol::{End, JoinedTopic, ServerFrame},
};

/// Sends the welcome frame, and joins the first topics of a session.
pub(super) async fn welcome(
    hub: Arc<HubState>,
    connection: Arc<Connection>,
    topics: Vec<Wanted>,
    mut refused: Vec<(&'static str, String)>,
) {
    // The pages of all topics wait together until the welcome frame is sent.
    let page = PAGE_BYTES / topics.len().max(1);
    let begin = topics.into_iter().map(|wanted| wanted.begin(hub.clone(), page));
    let mut joins: Vec<Join> = Vec::new();
    for begun in futures_util::future::join_all(begin).await {
        match begun {
            Ok(join) => joins.extend(join),
            Err(refusal) => refused.push(refusal),
        }
    }
    let joined: Vec<JoinedTopic> = joins.iter().map(Join::joined).collect();
    let end = End::at(connection.peer.expires(), hub.env.clock.unix().as_secs());
    let frame = ServerFrame::Welcome {
        session: &connection.peer.name.to_string(),
        topics: &joined,
        ping_seconds: hub.env.config.ping_interval.as_secs(),
        end,
    };
    connection.send(Item::with_cursors(&frame, &joined));
    for (code, topic) in refused {
        connection.send(Item::control(&ServerFrame::Error { code, detail: shown(&topic) }));
    }
    // At the same time, so that a topic with a backlog does not hold the others up.
    futures_util::future::join_all(joins.into_iter().map(Join::finish)).await;
}
