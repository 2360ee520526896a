//! The listeners of the process: their sockets, and the bounds of what they take.

mod bind;
pub mod descriptors;
mod limits;

pub use bind::{address, bind};
pub use limits::Limits;
