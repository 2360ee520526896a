//! The listeners of the process.
//!
//! - `bind`: binds the sockets.
//! - [`Limits`]: the limits of each listener (connections, timeouts), derived from the configuration and the number
//!   of file descriptors.
//! - [`file_descriptors`]: raises the limit of open files and divides the descriptors among the listeners.

mod bind;
pub mod file_descriptors;
mod limits;

pub use bind::{address, bind};
pub use limits::Limits;
