//! The WebSocket transport.
//!
//! - `direct.rs`: a session on a bare TCP socket, to which the flushers write without its task.
//! - `stream.rs`: a session on any other stream, such as TLS or HTTP/2.
//! - `incoming.rs`: what both do with the bytes of the client.

mod direct;
mod incoming;
mod stream;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::resume::Resume;
use crate::{
    close::Close,
    hub::{registry::Admission, state::HubState},
    message::Encoding,
    session::{Link, Session},
    socket::{Socket, take_unwrapped},
    websocket::{decoder::Decoder, encoder},
};

/// The time limit from the response to the switch of protocols.
const UPGRADE_LIMIT: Duration = Duration::from_secs(10);
/// The time within which a client without a token has to authenticate, in seconds.
const AUTHENTICATION_SECONDS: u64 = 5;

/// A handshake that was accepted.
pub(super) struct Accepted {
    pub(super) hub: Arc<HubState>,
    pub(super) admission: Admission,
    pub(super) session: Option<Session>,
    pub(super) is_deflated: bool,
    pub(super) resume: Resume,
}

/// How the exchange with a client ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The session ends with this close frame.
    Close(Close),
    /// The client sent a close frame.
    Closed,
    /// The socket failed or was closed.
    Gone,
}

impl End {
    /// Returns the close frame to send, or `None` if the socket is gone.
    fn frame(self) -> Option<Bytes> {
        match self {
            Self::Close(close) => Some(encoder::close(close.code, close.reason)),
            Self::Closed => Some(encoder::close(1000, "")),
            Self::Gone => None,
        }
    }

    /// Returns the close code of the server, if there is one.
    fn close(self) -> Option<Close> {
        match self {
            Self::Close(close) => Some(close),
            Self::Closed | Self::Gone => None,
        }
    }
}

/// Runs the session when the connection has switched protocols.
pub(super) fn spawn(accepted: Accepted, upgrade: OnUpgrade) {
    tokio::spawn(async move {
        let upgraded = match accepted.hub.env.clock.timeout(UPGRADE_LIMIT, upgrade).await {
            Ok(Ok(upgraded)) => upgraded,
            _ => return tracing::debug!("a connection did not switch to WebSocket"),
        };
        let decoder = Decoder::new(accepted.hub.env.config.max_client_frame, accepted.is_deflated);
        // A task of its own: the future of this one is larger.
        match (accepted.hub.take_socket)(upgraded).or_else(take_unwrapped) {
            Ok((stream, first, guard)) => {
                let link = accepted.open(Some(Socket::new(stream, guard)));
                // A copy: the bytes of hyper are a part of a buffer of 8 KiB and more.
                tokio::spawn(direct::run(link, decoder, first.to_vec()));
            }
            Err(upgraded) => {
                let link = accepted.open(None);
                tokio::spawn(stream::run(link, decoder, TokioIo::new(upgraded)));
            }
        }
    });
}

impl Accepted {
    fn open(self, socket: Option<Socket>) -> Link {
        let Self { hub, admission, session, is_deflated, resume } = self;
        let encoding = if is_deflated { Encoding::WebSocketDeflate } else { Encoding::WebSocket };
        let mut link = Link::open(&hub, admission, session.as_ref(), encoding, socket);
        match session {
            Some(session) => link.start(session, resume.topics, resume.cursor.as_deref()),
            None => link.wait(resume.topics, resume.cursor, AUTHENTICATION_SECONDS),
        }
        link
    }
}
