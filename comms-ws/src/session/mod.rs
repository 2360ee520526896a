//! A session, from the handshake to its last frame.
//!
//! - `grant.rs`: the principal, the topics and the expiry that the application grants.
//! - `run.rs`: the task of the session, which writes queued frames, reads the client's frames, and enforces time
//!   limits.
//! - `client.rs`: the frames and the topics of the client.

mod client;
mod grant;
mod run;

pub use grant::Session;
pub(crate) use run::RunningSession;
