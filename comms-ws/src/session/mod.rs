//! A session, from the handshake to its last frame, over any transport.
//!
//! - `grant.rs`: the principal, the topics and the expiry that the application grants.
//! - `authenticate.rs`: the check of tokens that arrive in frames.
//! - `own_topic.rs`: the topic of the session itself.
//! - `client.rs`: the frames of the client, and the limits on them.
//! - `subscriptions.rs`: the topics that the client subscribes to, leaves and acknowledges.
//! - `acknowledgement.rs`: what the application learns about acknowledgements.
//! - `rate.rs`: the limit on the rate of frames.
//! - `permission.rs`: the permission for a topic.
//! - `membership.rs`: the session as a member of a topic.
//! - `welcome.rs`: the first frame of a session, and its first topics.
//! - `join.rs`: how a session joins a topic, with what its client has missed.
//! - `backlog.rs`: what a join sends, as the queue and the window have room.
//! - `window.rs`: a join with a window, which waits for acknowledgements.
//! - `link.rs`: what a transport drives.

mod acknowledgement;
mod authenticate;
mod backlog;
mod client;
mod grant;
mod join;
mod link;
mod membership;
mod own_topic;
mod permission;
mod rate;
mod subscriptions;
mod welcome;
mod window;

pub use acknowledgement::Acknowledgement;
pub(crate) use acknowledgement::Report;
pub(crate) use authenticate::Authenticate;
pub use grant::Session;
pub(crate) use link::Pulled;
pub use link::{Link, Outgoing};
pub use own_topic::session_topic;
#[cfg(feature = "client")]
pub(crate) use window::MAX_WINDOW;
