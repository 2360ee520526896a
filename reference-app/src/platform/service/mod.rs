//! A service as it registers itself: one value with everything that the platform must know of it.
//!
//! A service is one folder under `src/services` and one line in `src/services/mod.rs`. The configuration, the command
//! line, the listeners, the topics and the checks between services follow from the registrations; no other file names
//! a service. What services share (events, `.proto` files) lies in `src/contracts/<owner>`.

mod check;
mod host;
mod section;

pub use check::check;
pub use host::{Host, Peer};
pub use section::{Section, no_settings};

use std::pin::Pin;

use comms_core::{Error, event::Event, shutdown::ShutdownSignal, transport::BoxHandler};
use comms_ws::Hub;
use sqlx::migrate::Migrator;
use tonic::service::Routes;

use super::http::Guarded;

/// The registration of a service.
pub struct Service {
    /// The name: the role on the command line, the section of the configuration, the listener, and the name by which
    /// other services call it. A lower-case letter, then lower-case letters, digits and single `_`: it is a
    /// part of the variables `COMMS_<NAME>__…`.
    pub name: &'static str,
    /// What the service does, in one sentence, for the command line's help.
    pub about: &'static str,
    /// The `source` of its events.
    pub source: &'static str,
    /// The defaults of its section `[<name>]` and of the policies `[policies.<name>]` of its calls, as TOML.
    pub defaults: &'static str,
    /// Checks its section before anything starts: reads it with the type of the section. [`no_settings`] for a service that
    /// has only the keys of the platform, `listen` and `url`.
    pub check: fn(&Section) -> Result<(), Error>,
    /// The keys of its section that hold no secret, beside `listen`. The printed configuration shows only their values.
    pub shown: &'static [&'static str],
    /// What its listener speaks; the section has the address under `listen`. `None`: it has no listener.
    pub protocol: Option<Protocol>,
    /// Its database. `None`: it keeps no data.
    pub database: Option<Database>,
    /// The topics that it alone writes.
    pub topics: &'static [Topic],
    /// The events that it handles.
    pub subscriptions: &'static [Subscription],
    /// The services that it calls over gRPC.
    pub calls: &'static [Call],
    /// The services whose public address it gives to clients ([`Host::public_url`]).
    pub refers_to: &'static [&'static str],
    /// Makes the running service. It must return at once: it connects to nothing.
    pub start: fn(&Host<'_>) -> Result<Parts, Error>,
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC over HTTP/2, for other services.
    Grpc,
    /// HTTP, for clients.
    Http,
    /// WebSocket, for clients.
    Sockets,
}

impl Protocol {
    /// The scheme of the listener's URL.
    #[must_use]
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Grpc | Self::Http => "http",
            Self::Sockets => "ws",
        }
    }
}

/// The database of a service: a schema in PostgreSQL, or a file in the data directory.
pub struct Database {
    /// The name of the schema, and of the file without `.db`.
    pub schema: &'static str,
    /// The tables of the service. comms-outbox adds its own.
    pub migrations: &'static Migrator,
}

/// A topic that a service writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topic {
    /// The name, without the prefix of the cluster.
    pub name: &'static str,
    /// The number of partitions on a broker.
    pub partitions: i32,
}

impl Topic {
    /// The topic of the event `E`, with 6 partitions.
    #[must_use]
    pub const fn of<E: Event>() -> Self {
        Self { name: E::TYPE, partitions: 6 }
    }
}

/// A consumer group and the topic that it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscription {
    /// The consumer group: half of the inbox key, and the name of its cursor.
    pub group: &'static str,
    /// The topic.
    pub topic: &'static str,
}

/// Calls from one service to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// The name of the service that is called.
    pub service: &'static str,
    /// The policy of these calls: `[policies.<policy>]`, with its defaults in the caller's `defaults`. Usually the name of
    /// the called service; a second caller with other needs names its own.
    pub policy: &'static str,
}

/// A running service, as [`Service::start`] makes it.
#[derive(Default)]
pub struct Parts {
    /// What its listener serves; of the registered [`Protocol`].
    pub serves: Serves,
    /// A handler for each registered group.
    pub handlers: Vec<(&'static str, BoxHandler)>,
    /// Loops in the background. They end in the stage of the consumers.
    pub loops: Vec<Loop>,
    /// Commands to try, printed after the start.
    pub hint: Option<String>,
}

/// What a listener serves.
#[derive(Default)]
pub enum Serves {
    /// The service has no listener.
    #[default]
    Nothing,
    /// gRPC routes.
    Grpc(Routes),
    /// HTTP routes.
    Http(Guarded),
    /// The routes of WebSocket handshakes, and the hub that is drained at the shutdown.
    Sockets(Guarded, Hub),
}

impl Serves {
    const fn protocol(&self) -> Option<Protocol> {
        match self {
            Self::Nothing => None,
            Self::Grpc(_) => Some(Protocol::Grpc),
            Self::Http(_) => Some(Protocol::Http),
            Self::Sockets(..) => Some(Protocol::Sockets),
        }
    }
}

/// The future of a [`Loop`].
pub type Run = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// A loop in the background of a service.
pub struct Loop {
    /// The name, for logs.
    pub name: &'static str,
    /// Runs until its argument resolves.
    pub run: Box<dyn FnOnce(ShutdownSignal) -> Run + Send>,
}

impl Parts {
    /// Refuses parts that are not those that `service` has registered.
    ///
    /// # Errors
    /// Returns `Internal` for another protocol, for a registered group without a handler, and for a handler without a
    /// registered group.
    pub fn match_registration(&self, service: &Service) -> Result<(), Error> {
        let name = service.name;
        if self.serves.protocol() != service.protocol {
            return Err(Error::internal(format!("{name} serves another protocol than it has registered")));
        }
        let mut made: Vec<_> = self.handlers.iter().map(|(group, _)| *group).collect();
        let mut registered: Vec<_> = service.subscriptions.iter().map(|one| one.group).collect();
        made.sort_unstable();
        registered.sort_unstable();
        if made != registered {
            let text =
                format!("{name} has handlers for the groups {made:?}, and has registered {registered:?}");
            return Err(Error::internal(text));
        }
        Ok(())
    }
}
