//! What every HTTP service stands on.

mod hosts;
mod listener;

pub use hosts::Hosts;
pub use listener::serve;
