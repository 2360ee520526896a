//! The state that the hub shares with its sessions.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use comms_core::resilience::Backoff;

use super::{
    registry::Registry,
    watch::{self, Watch},
};
use crate::{
    backplane::{Backplane, Position, Receiver},
    environment::Environment,
    fanout::Fanout,
    feed::table::Feeds,
    session::{Authenticate, Report},
};

pub(crate) struct HubState {
    pub(crate) env: Arc<Environment>,
    pub(crate) fanout: Arc<Fanout>,
    pub(crate) feeds: Feeds,
    pub(crate) registry: Arc<Registry>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) authenticate: Option<Arc<dyn Authenticate>>,
    pub(crate) acknowledgements: Option<Box<Report>>,
}

impl HubState {
    pub(crate) fn new(
        env: Environment,
        backplane: Arc<dyn Backplane>,
        backoff: Backoff,
        authenticate: Option<Arc<dyn Authenticate>>,
        acknowledgements: Option<Box<Report>>,
    ) -> Arc<Self> {
        let env = Arc::new(env);
        let state = Arc::new(Self {
            registry: Arc::new(Registry::new(env.meters.clone())),
            watch: Arc::new(Watch::new(env.clone())),
            fanout: Arc::new(Fanout::new(env.clone(), backplane, backoff)),
            feeds: Feeds::default(),
            env,
            authenticate,
            acknowledgements,
        });
        let receiver = Arc::downgrade(&state);
        let receiver: Weak<dyn Receiver> = receiver;
        state.fanout.backplane.attach(receiver);
        state
    }

    /// Starts the tasks of the hub, once.
    pub(crate) fn start(&self) {
        let watch = watch::run(Arc::downgrade(&self.watch), self.env.clone());
        self.fanout.start(|| drop(self.fanout.spawn(watch)));
    }
}

impl Receiver for HubState {
    fn deliver(&self, topic: &str, position: Option<Position>, body: Bytes) {
        if let Some(feed) = self.feeds.get(topic) {
            feed.receive(&self.fanout, position, body);
        }
    }

    fn interrupted(&self) {
        self.feeds.all().iter().for_each(|feed| feed.check(&self.fanout));
    }
}
