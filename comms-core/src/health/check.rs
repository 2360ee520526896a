//! Parts that are asked.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::State;
use crate::panic::panic_text;

pub(super) type Check = Arc<dyn Fn() -> State + Send + Sync>;

/// A probe gets an answer also where a check panics.
pub(super) fn ask(check: &Check) -> State {
    catch_unwind(AssertUnwindSafe(|| check()))
        .unwrap_or_else(|panic| State::unready(format!("the check panicked: {}", panic_text(&*panic))))
}
