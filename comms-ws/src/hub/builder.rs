//! Builds a hub.

use std::{fmt, sync::Arc, time::Duration};

use comms_core::{
    Error,
    clock::Clock,
    resilience::{Backoff, Jitter},
};
use hyper::upgrade::Upgraded;

use super::{Hub, state::HubState};
use crate::{
    backplane::{Backplane, Memory},
    config::HubConfig,
    cursor::CursorKey,
    environment::Environment,
    session::{Acknowledgement, Authenticate, Report, Session},
    socket::{BareSocket, TakeSocket},
};

/// Builds a [`Hub`], from [`Hub::builder`].
///
/// ```
/// use comms_core::{Error, clock::Clock};
/// use comms_ws::{CursorKey, Hub, HubConfig, Session};
///
/// # fn secret() -> [u8; 32] { [7; 32] }
/// # fn main() -> Result<(), Error> {
/// let hub = Hub::builder(HubConfig::default(), Clock::system())
///     // All nodes have the same key, so that a client can resume on each of them.
///     .cursor_keys([CursorKey::new(&secret())?])
///     .authenticate(async |token: String| match token.as_str() {
///         "secret" => Ok(Session::new("ann", vec!["user/ann".into()])),
///         _ => Err(Error::invalid("unknown token")),
///     })
///     .build()?;
/// # drop(hub);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct HubBuilder {
    config: HubConfig,
    clock: Clock,
    cursor_keys: Vec<CursorKey>,
    backplane: Option<Arc<dyn Backplane>>,
    authenticate: Option<Arc<dyn Authenticate>>,
    take_socket: TakeSocket,
    acknowledgements: Option<Box<Report>>,
}

impl HubBuilder {
    pub(super) fn new(config: HubConfig, clock: Clock) -> Self {
        // For the sockets, `Err` returns the connection.
        Self {
            config,
            clock,
            cursor_keys: Vec::new(),
            backplane: None,
            authenticate: None,
            acknowledgements: None,
            take_socket: Err,
        }
    }

    /// Sets the keys that sign cursors and tickets. The first signs, all verify, so that a key can be replaced: add the
    /// new one behind, then move it to the front on all nodes, then remove the old one. Default one random key, with which
    /// no client can resume after a restart or on another node. A backplane of several processes needs keys.
    pub fn cursor_keys(mut self, keys: impl IntoIterator<Item = CursorKey>) -> Self {
        self.cursor_keys = keys.into_iter().collect();
        self
    }

    /// Sets the backplane. Default [`Memory`], of a single node. The caller runs
    /// [`Backplane::run`](crate::backplane::Backplane::run).
    pub fn backplane(mut self, backplane: impl Backplane) -> Self {
        self.backplane = Some(Arc::new(backplane));
        self
    }

    /// Sets the function that verifies the tokens of frames: the first frame of a session of
    /// [`Hub::accept_unauthenticated`], and the refreshed tokens of all sessions. It has 5 seconds. Default none: such
    /// frames are refused.
    pub fn authenticate<F, Fut>(mut self, authenticate: F) -> Self
    where
        F: Fn(String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Session, Error>> + Send + 'static,
    {
        self.authenticate = Some(Arc::new(authenticate));
        self
    }

    /// Sets the function that takes the TCP socket out of an upgraded connection, for a server that wraps its sockets:
    /// `comms_grpc::take_socket` for the listener of `comms-grpc`. The function returns the connection if it is another
    /// stream, such as TLS. Default none: the hub recognizes only the sockets that hyper serves without a wrapper.
    ///
    /// The publisher's side writes to a bare socket itself. A session on another stream is written by its own task, which
    /// costs a wakeup of the task for each write. [`Stats::direct_sessions`](super::Stats::direct_sessions) counts the
    /// sessions on bare sockets.
    pub fn bare_sockets(mut self, take: fn(Upgraded) -> Result<BareSocket, Upgraded>) -> Self {
        self.take_socket = take;
        self
    }

    /// Sets a function that is called for each acknowledgement of a client which moves the acknowledged position of its
    /// session forward. Default none.
    ///
    /// Clients acknowledge the topics that they have subscribed to with a window. An acknowledgement is cumulative: it
    /// covers all events of the topic up to its position that the session was sent. An acknowledgement may be lost with its
    /// connection, so an application that hears of none cannot conclude that the client has not handled the event.
    ///
    /// The function is called on the task of the session, and must not block.
    ///
    /// ```
    /// use std::{collections::HashMap, sync::{Arc, Mutex}};
    /// use comms_core::{Error, clock::Clock};
    /// use comms_ws::{Hub, HubConfig, backplane::Position};
    ///
    /// # fn main() -> Result<(), Error> {
    /// // What each user has handled. A task that sends e-mails leaves out the events up to this position.
    /// let handled: Arc<Mutex<HashMap<String, Position>>> = Arc::default();
    /// let hub = Hub::builder(HubConfig::default(), Clock::system())
    ///     .acknowledgements({
    ///         let handled = handled.clone();
    ///         move |acknowledgement| {
    ///             let mut handled = handled.lock().unwrap();
    ///             handled.insert(acknowledgement.principal.to_owned(), acknowledgement.position);
    ///         }
    ///     })
    ///     .build()?;
    /// # drop(hub);
    /// # Ok(())
    /// # }
    /// ```
    pub fn acknowledgements(mut self, report: impl Fn(Acknowledgement<'_>) + Send + Sync + 'static) -> Self {
        self.acknowledgements = Some(Box::new(report));
        self
    }

    /// Creates the hub.
    ///
    /// # Errors
    /// - [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if a limit of the configuration is zero or above its
    ///   maximum, if an entry of [`HubConfig::origins`] is not written as browsers send it, if the history of a rule
    ///   keeps nothing, if the backplane serves another hub, or if other processes share it and there is no key of cursors.
    /// - [`ErrorKind::Fatal`](comms_core::ErrorKind::Fatal) if a random key is needed and the system has no random source.
    pub fn build(self) -> Result<Hub, Error> {
        let Self { config, clock, mut cursor_keys, backplane, authenticate, take_socket, acknowledgements } =
            self;
        let config = config.validated()?;
        let backplane = backplane.unwrap_or_else(|| Arc::new(Memory::new(clock.clone())));
        if cursor_keys.is_empty() {
            if backplane.is_shared() {
                return Err(Error::invalid(
                    "hub: each process with this backplane would make a random cursor key, and refuse the cursors of \
                     the others: set `cursor_keys` to the same secrets in all",
                ));
            }
            cursor_keys.push(CursorKey::random()?);
        }
        // The first wait for the backplane is 50 to 100 ms, and the longest 2.5 to 5 s.
        let backoff = Backoff::new(Duration::from_millis(75), Duration::from_millis(3_750))?
            .with_jitter(Jitter::Ratio(1.0 / 3.0))?;
        let env = Environment::new(config, clock, cursor_keys);
        HubState::new(env, backplane, backoff, authenticate, take_socket, acknowledgements).map(Hub)
    }
}

impl fmt::Debug for HubBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
