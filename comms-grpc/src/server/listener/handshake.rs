//! The TLS handshake of an accepted socket, in a task of its own.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use comms_core::{
    Error,
    clock::Clock,
    telemetry::{self, LogLimit},
};

use super::{
    activity::Activity,
    config::{ListenerConfig, Protocols},
    peer::Peer,
    socket::Socket,
    transport::{AcceptedConnection, Stream},
};
use crate::tls::{HandshakeFailure, ServerHandshake};

/// Makes the TLS handshakes of a listener.
pub(super) struct Handshakes {
    tls: ServerHandshake,
    config: Arc<ListenerConfig>,
    clock: Clock,
    /// By reason.
    logs: Mutex<BTreeMap<&'static str, LogLimit>>,
}

impl Handshakes {
    /// Loads the certificates of `config`. Returns `None` for a listener in plain text.
    pub(super) fn start(config: &Arc<ListenerConfig>, clock: &Clock) -> Result<Option<Arc<Self>>, Error> {
        let Some(tls) = &config.tls else { return Ok(None) };
        let (protocols, requires_alpn): (&[&[u8]], _) = match config.protocols {
            Protocols::Http => (&[b"h2", b"http/1.1"], false),
            Protocols::Http2 => (&[b"h2"], true),
        };
        let tls = tls
            .start(protocols, requires_alpn, clock)
            .map_err(|e| e.context(format_args!("listener {}", config.name)))?;
        Ok(Some(Arc::new(Self { tls, config: config.clone(), clock: clock.clone(), logs: Mutex::default() })))
    }

    /// Makes the handshake within the time for the head. Returns `None` if it fails, after the socket is closed.
    pub(super) async fn run(
        self: Arc<Self>,
        socket: Socket,
        activity: Arc<Activity>,
        accepted: Instant,
        mut peer: Peer,
    ) -> Option<(AcceptedConnection, Peer)> {
        let left = |clock: &Clock| {
            self.config.head_timeout.saturating_sub(clock.now().saturating_duration_since(accepted))
        };
        match self.clock.timeout(left(&self.clock), self.tls.accept(socket)).await {
            Ok(Ok((stream, identity))) => {
                peer.identity = identity;
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    activity.require_http2();
                }
                let stream = Stream::Tls(Box::new(stream));
                Some((AcceptedConnection { stream, activity, accepted }, peer))
            }
            Ok(Err((failure, socket))) => {
                self.record(&peer, &failure);
                // The time for the head bounds this wait too.
                let _ = self.clock.timeout(left(&self.clock), socket.linger()).await;
                None
            }
            Err(_) => {
                let text = "the client did not complete the handshake within head_timeout";
                self.record(&peer, &HandshakeFailure::new("timeout", text));
                None
            }
        }
    }

    fn record(&self, peer: &Peer, failure: &HandshakeFailure) {
        let HandshakeFailure { reason, text, .. } = failure;
        let (listener, remote) = (&self.config.name, peer.remote);
        match self.admit_line(reason) {
            Some(suppressed) => {
                tracing::warn!(listener, %remote, reason, text, suppressed, "a TLS handshake failed");
            }
            None => tracing::debug!(listener, %remote, reason, text, "a TLS handshake failed"),
        }
        let labels = [("listener", listener.clone()), ("reason", (*reason).to_owned())];
        metrics::counter!(telemetry::TLS_HANDSHAKE_FAILURES, &labels).increment(1);
    }

    /// Returns the number of suppressed warnings if a failure for `reason` may be logged as one. A client that closes the
    /// connection is often the check of a load balancer.
    fn admit_line(&self, reason: &'static str) -> Option<u64> {
        if reason == "closed" {
            return None;
        }
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.entry(reason).or_default().admit(&self.clock)
    }
}
