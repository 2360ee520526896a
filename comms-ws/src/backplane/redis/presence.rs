//! The principals that are present in topics.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use ::redis::Script;
use comms_core::Error;

use super::{Shared, commands::millis, wire};

static SET_PRESENT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("set_present.lua")));
static PRESENT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("present.lua")));

/// The largest number of principals. Redis refuses numbers above those of 64 bits with a sign.
const MAX: usize = u32::MAX as usize;

impl Shared {
    pub(super) async fn set_present(
        &self,
        topic: &str,
        node: u64,
        principals: &[Arc<str>],
        lifetime: Duration,
    ) -> Result<(), Error> {
        let mut live = self.link.live().await?;
        let mut call = SET_PRESENT.prepare_invoke();
        call.key(self.keys.present(topic)).arg(if lifetime.is_zero() { 0 } else { millis(lifetime) });
        for principal in principals {
            call.arg(format!("{}{principal}", wire::node(node)));
        }
        let number = live.number();
        self.link.reply(number, "report presence", call.invoke_async(&mut live.connection)).await
    }

    pub(super) async fn read_present(&self, topic: &str, max: usize) -> Result<Vec<String>, Error> {
        let mut live = self.link.live().await?;
        let mut call = PRESENT.prepare_invoke();
        call.key(self.keys.present(topic)).arg(max.min(MAX));
        let number = live.number();
        self.link.reply(number, "read presence", call.invoke_async(&mut live.connection)).await
    }
}
