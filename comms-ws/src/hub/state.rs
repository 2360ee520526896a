//! The state that the hub shares with its sessions.

use std::sync::Arc;

use comms_core::clock::Clock;

use super::{config::HubConfig, meters::Meters, topics::Topics};

pub(crate) struct HubState {
    pub(crate) config: HubConfig,
    pub(crate) clock: Clock,
    pub(crate) topics: Topics,
    pub(crate) meters: Arc<Meters>,
}
