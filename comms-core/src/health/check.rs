//! Checks that are called at each probe.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::State;
use crate::panic::panic_text;

pub(super) type Check = Arc<dyn Fn() -> State + Send + Sync>;

/// Calls `check`. A check that panics is unready, so that the probe still gets an answer.
pub(super) fn run(check: &Check) -> State {
    catch_unwind(AssertUnwindSafe(|| check()))
        .unwrap_or_else(|panic| State::unready(format!("the check panicked: {}", panic_text(&*panic))))
}
