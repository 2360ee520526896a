//! The registration of a service: one value that declares everything the platform needs.
//!
//! A service is one folder under `src/services` and one line in `src/services/mod.rs`. The configuration, the command
//! line, the listeners, the topics and the checks between services are derived from the registrations; no other file
//! names a service. Contracts shared by services (events, `.proto` files) are in `src/contracts/<owner>`.
//!
//! - [`Service`]: the registration. Its parts ([`Database`], [`Topic`], [`Subscription`], [`Call`]) are in
//!   `registration`.
//! - [`Section`]: the service's section of the configuration.
//! - [`Host`]: what a service receives from the platform when it starts. `projection` builds its projections.
//! - [`Parts`]: what a service returns when it starts. A [`Sweep`] becomes one of its loops.
//! - [`check`](check()): the rules that registrations must fulfill together.

mod check;
mod host;
mod parts;
mod projection;
mod registration;
mod saga;
mod section;
mod sweep;

pub use check::check;
pub use host::Host;
pub use parts::{Loop, Parts, Run, Serves};
pub use registration::{Call, Database, Protocol, Subscription, Topic};
pub use section::{Section, no_settings};
pub use sweep::{DueRows, PAGE, Sweep, settle_due};

use comms_core::Error;

/// The registration of a service.
pub struct Service {
    /// The name: the role on the command line, the section of the configuration, the listener, and the name by which
    /// other services call this one. A lowercase letter, then lowercase letters, digits and single `_`, because the
    /// name is a part of the variables `COMMS_<NAME>__…`.
    pub name: &'static str,
    /// A description in one sentence, for the help of the command line.
    pub about: &'static str,
    /// The `source` of the service's events.
    pub source: &'static str,
    /// The defaults of the section `[<name>]` and of the policies `[policies.<name>]` of the service's calls, as TOML.
    pub defaults: &'static str,
    /// Checks the service's section before anything starts, usually by reading the section as its type.
    /// [`no_settings`] is the check of a service that has no keys besides `listen` and `url`.
    pub check: fn(&Section) -> Result<(), Error>,
    /// The keys of the section that hold no secret, besides `listen`. The printed configuration shows only the values
    /// of these keys.
    pub shown: &'static [&'static str],
    /// The protocol of the listener, whose address is the key `listen` of the section. `None`: no listener.
    pub protocol: Option<Protocol>,
    /// The service's database. `None`: the service stores no data.
    pub database: Option<Database>,
    /// The topics that only this service writes.
    pub topics: &'static [Topic],
    /// The topics that the service consumes, each with its consumer group.
    pub subscriptions: &'static [Subscription],
    /// The services that this service calls over gRPC.
    pub calls: &'static [Call],
    /// The services whose public URL this service gives to clients ([`Host::public_url`]).
    pub refers_to: &'static [&'static str],
    /// Creates the running service. Must return at once, without connecting to a server.
    pub start: fn(&Host<'_>) -> Result<Parts, Error>,
}

impl Service {
    /// Checks that `parts`, which [`start`](Self::start) returned, match the registration.
    ///
    /// # Errors
    /// Returns `Internal` if `parts` serve another protocol than the registered one, if a registered group has no
    /// handler, or if a handler has no registered group.
    pub fn check_parts(&self, parts: &Parts) -> Result<(), Error> {
        let name = self.name;
        if parts.serves.protocol() != self.protocol {
            return Err(Error::internal(format!(
                "service {name} serves another protocol than it registered"
            )));
        }
        let mut handled: Vec<_> = parts.handlers.iter().map(|(group, _)| *group).collect();
        let mut registered: Vec<_> =
            self.subscriptions.iter().map(|subscription| subscription.group).collect();
        handled.sort_unstable();
        registered.sort_unstable();
        if handled != registered {
            return Err(Error::internal(format!(
                "service {name} has handlers for the groups {handled:?}, but registered the groups {registered:?}"
            )));
        }
        Ok(())
    }
}
