//! Caught panics.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::Error;

/// Returns the message of a caught panic, or `no message` if the panic was raised with another type than a string.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Runs `work` of `whose`, for example `the handler`. A panic is an `Internal` error.
pub(crate) fn caught<T>(whose: &str, work: impl FnOnce() -> T) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let error = Error::internal(format!("{whose} panicked: {}", panic_text(&*panic)));
        // The payload may be of any type, and its drop may panic as well.
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            std::mem::forget(second);
        }
        error
    })
}
