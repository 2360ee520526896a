//! The state that the hub shares with its sessions.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use comms_core::{Error, resilience::Backoff};

use super::{
    disconnects::{self, Disconnects},
    presence::{self, Presence},
    registry::Registry,
    watch::{self, Watch},
};
use crate::{
    backplane::{Backplane, Position, Receiver},
    environment::Environment,
    fanout::Fanout,
    feed::{Feed, repair, table::Feeds},
    session::{Authenticate, Report},
    socket::TakeSocket,
};

pub(crate) struct HubState {
    pub(crate) env: Arc<Environment>,
    pub(crate) fanout: Arc<Fanout>,
    pub(crate) feeds: Feeds,
    pub(crate) registry: Arc<Registry>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) presence: Arc<Presence>,
    pub(crate) authenticate: Option<Arc<dyn Authenticate>>,
    /// The identity of this hub among those of the backplane.
    pub(super) node: u64,
    /// The feed of the calls of [`Hub::disconnect`](crate::Hub::disconnect) on other nodes.
    disconnects: Arc<Feed>,
    pub(crate) take_socket: TakeSocket,
    pub(crate) acknowledgements: Option<Box<Report>>,
}

impl HubState {
    /// # Errors
    /// Returns the error of [`Backplane::attach`].
    pub(crate) fn new(
        env: Environment,
        backplane: Arc<dyn Backplane>,
        backoff: Backoff,
        authenticate: Option<Arc<dyn Authenticate>>,
        take_socket: TakeSocket,
        acknowledgements: Option<Box<Report>>,
    ) -> Result<Arc<Self>, Error> {
        let env = Arc::new(env);
        let node = u64::from_be_bytes(env.clock.random());
        let registry = Arc::new(Registry::new(env.meters.clone(), env.clock.clone()));
        let state = Arc::new(Self {
            disconnects: Arc::new(Disconnects::feed(node, registry.clone())),
            presence: Arc::new(Presence::new(node)),
            node,
            registry,
            watch: Arc::new(Watch::new(env.clone())),
            fanout: Arc::new(Fanout::new(env.clone(), backplane, backoff)),
            feeds: Feeds::default(),
            env,
            authenticate,
            take_socket,
            acknowledgements,
        });
        let receiver = Arc::downgrade(&state);
        let receiver: Weak<dyn Receiver> = receiver;
        state.fanout.backplane.attach(receiver)?;
        Ok(state)
    }

    /// Starts the tasks of the hub, once.
    pub(crate) fn start(&self) {
        self.fanout.start(|| {
            let fanout = &self.fanout;
            // Not a task of the fanout, which ends before the last sessions of a drain.
            let (registry, stop) = (self.registry.clone(), fanout.stop.clone());
            tokio::spawn(watch::run(self.watch.clone(), registry, stop));
            fanout.spawn(repair::begin(fanout.clone(), self.disconnects.clone(), disconnects::HISTORY));
            fanout.spawn(presence::run(self.presence.clone(), fanout.clone()));
        });
    }
}

impl HubState {
    /// Returns the feed of a topic of this node.
    fn feed(&self, topic: &str) -> Option<Arc<Feed>> {
        if topic == disconnects::TOPIC {
            return Some(self.disconnects.clone());
        }
        self.feeds.get(topic)
    }
}

impl Receiver for HubState {
    fn deliver(&self, topic: &str, position: Option<Position>, body: Bytes) {
        if let Some(feed) = self.feed(topic) {
            feed.receive(&self.fanout, position, body);
        }
    }

    fn behind(&self, topic: &str) {
        if let Some(feed) = self.feed(topic) {
            feed.check(&self.fanout);
        }
    }

    fn interrupted(&self) {
        self.disconnects.check(&self.fanout);
        self.feeds.all().iter().for_each(|feed| feed.check(&self.fanout));
        self.presence.refresh();
    }
}

impl Drop for HubState {
    fn drop(&mut self) {
        self.fanout.stop.cancel();
    }
}
