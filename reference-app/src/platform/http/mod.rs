//! What every HTTP service stands on.

mod listener;

pub use listener::serve;
