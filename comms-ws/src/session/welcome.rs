//! The first frame of a session, and its first topics.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{
    StreamExt,
    future::{join, join_all},
    stream::FuturesUnordered,
};

use super::{
    join::{Join, Start},
    permission::{Begun, Refused, Wanted, shown},
};
use crate::{
    connection::{Connection, Item},
    cursor,
    feed::PAGE_BYTES,
    hub::state::HubState,
    protocol::{End, JoinedTopic, ServerFrame},
};

/// The longest wait of the welcome frame for the topics. A backplane or a look-up of a permission that hangs for one topic
/// must not keep the others from the client.
const LIMIT: Duration = Duration::from_secs(2);

/// Sends the welcome frame, and joins the first topics of a session. A topic that is not ready within two seconds is `pending`
/// in the frame, and confirmed or refused by a frame of its own later.
pub(super) async fn welcome(
    hub: Arc<HubState>,
    connection: Arc<Connection>,
    topics: Vec<Wanted>,
    mut refused: Vec<Refused>,
) {
    // The pages of all topics wait together until the welcome frame is sent.
    let page = PAGE_BYTES / topics.len().max(1);
    let mut waiting: BTreeMap<usize, (Arc<str>, Start)> =
        topics.iter().map(Wanted::place).enumerate().collect();
    let begin = topics.into_iter().map(|wanted| wanted.begin(hub.clone(), page)).enumerate();
    let mut begin: FuturesUnordered<_> =
        begin.map(|(index, begin)| async move { (index, begin.await) }).collect();
    // In the order of `topics`.
    let mut joins: BTreeMap<usize, Join> = BTreeMap::new();
    let ready = async {
        while let Some((index, begun)) = begin.next().await {
            waiting.remove(&index);
            match begun {
                Ok(join) => joins.extend(join.map(|join| (index, join))),
                Err(refusal) => refused.push(refusal),
            }
        }
    };
    // What is not ready goes on below.
    let _ = hub.env.clock.timeout(LIMIT, ready).await;
    let joined: Vec<JoinedTopic> = joins.values().map(Join::joined).collect();
    let pending: Vec<JoinedTopic> =
        waiting.values().map(|(topic, start)| unconfirmed(&hub, topic, *start)).collect();
    let end = End::at(connection.peer.expires(), hub.env.clock.unix().as_secs());
    let frame = ServerFrame::Welcome {
        session: &connection.peer.name.to_string(),
        topics: &joined,
        pending: pending.iter().map(|pending| pending.topic.as_str()).collect(),
        ping_seconds: hub.env.config.ping_interval.as_secs(),
        end,
    };
    connection.send(Item::with_cursors(&frame, joined.iter().chain(&pending)));
    refused.iter().for_each(|refused| refuse(&connection, refused));
    // At the same time, so that a topic with a backlog does not hold the others up.
    let late = begin.for_each_concurrent(None, |(_, begun)| confirm(connection.clone(), begun));
    join(join_all(joins.into_values().map(Join::finish)), late).await;
}

/// Returns a pending topic with the position of its client, if the client has one. So the id of an event stream has this
/// position from the first event on, and a stream that is lost meanwhile resumes there.
fn unconfirmed(hub: &HubState, topic: &str, start: Start) -> JoinedTopic {
    let cursor = match start {
        Start::Now => None,
        Start::After(Some(position)) => Some(cursor::token(&hub.env.cursor_keys, topic, position)),
        Start::After(None) => Some(cursor::unreadable(topic)),
    };
    JoinedTopic { topic: topic.to_owned(), cursor, recovered: None, sparse: false, window: None }
}

/// Confirms or refuses a topic that was not ready for the welcome frame, and sends what the client has missed.
async fn confirm(connection: Arc<Connection>, begun: Begun) {
    match begun {
        Ok(Some(join)) => {
            join.send_subscribed();
            join.finish().await;
        }
        Ok(None) => {}
        Err(refused) => refuse(&connection, &refused),
    }
}

fn refuse(connection: &Arc<Connection>, Refused { code, topic }: &Refused) {
    connection.send(Item::control(&ServerFrame::Error { code, detail: shown(topic) }));
}
