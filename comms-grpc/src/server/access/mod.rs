//! Authorization of calls by the identity of the peer and by the scopes of a token.

mod caller;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

#[cfg(feature = "jwt")]
use comms_core::jwt::{Claims, Verifier};
use comms_core::{Error, ErrorKind, clock::Clock, telemetry::LogLimit};
use http::{Extensions, HeaderMap};
use tonic::Status;

pub use caller::Caller;
use caller::Credentials;

use crate::{
    peer_identity::PeerIdentity,
    status::{Refusal, to_status},
};

/// The rules of access of a server, per method.
///
/// - A service without a rule is open to every caller.
/// - A service with a rule is closed: a method without a rule, also one that does not exist, is PERMISSION_DENIED.
/// - With any rule, a path that is not `/service/method` or contains `%` is PERMISSION_DENIED.
/// - A call is permitted if the caller matches one [`Caller`] of the method. A caller without an identity and without a
///   valid token is UNAUTHENTICATED; any other is PERMISSION_DENIED.
///
/// A refusal comes before any handler, and the response is marked as not executed. The log names the method and the
/// identity; the response names neither. At most one UNAUTHENTICATED and one PERMISSION_DENIED are logged as a warning in
/// 10 s, with the number of those before, and the others at level debug.
///
/// ```
/// use comms_grpc::{Access, Caller};
///
/// # fn main() -> Result<(), comms_core::Error> {
/// let order = Caller::spiffe_id("spiffe://shop.example/order");
/// let access = Access::builder()
///     .allow("/comms.payments.v1.Payments/RequestPayment", [order])
///     .allow("/comms.payments.v1.Payments/*", [Caller::dns_name("console.internal")])
///     .build()?;
/// # drop(access);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Access(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    /// By the name of the service.
    services: HashMap<String, ServiceRules>,
    #[cfg(feature = "jwt")]
    verifier: Option<Verifier>,
    unauthenticated_log: LogLimit,
    denied_log: LogLimit,
}

#[derive(Debug, Default)]
struct ServiceRules {
    /// The callers that may call every method.
    every_method: Vec<Caller>,
    /// By the name of the method.
    methods: HashMap<String, Vec<Caller>>,
}

impl Access {
    /// Returns a builder without rules, which permits every call.
    pub fn builder() -> AccessBuilder {
        AccessBuilder::default()
    }

    /// Returns the services that rules name.
    pub(super) fn services(&self) -> impl Iterator<Item = &str> {
        self.0.services.keys().map(String::as_str)
    }

    /// Returns whether a rule names the method at `path`, so that the path is not made up by a peer.
    pub(super) fn names(&self, path: &str) -> bool {
        let rules = split(path).and_then(|(service, method)| Some((self.0.services.get(service)?, method)));
        rules.is_some_and(|(rules, method)| rules.methods.contains_key(method))
    }

    /// Checks that the caller may call the method at `path`. Adds the claims of a token that a rule needs to
    /// `extensions`.
    ///
    /// # Errors
    /// Returns UNAUTHENTICATED or PERMISSION_DENIED, as a refusal.
    pub(super) fn check(
        &self,
        path: &str,
        headers: &HeaderMap,
        extensions: &mut Extensions,
        clock: &Clock,
    ) -> Result<(), Status> {
        // Another component may route a path without these parts, or with encoded ones, to a service that has rules.
        let Some((service, method)) = split(path).filter(|_| !path.contains('%')) else {
            return match self.0.services.is_empty() {
                true => Ok(()),
                false => Err(self.0.deny(path, extensions.get(), None, clock)),
            };
        };
        let Some(rules) = self.0.services.get(service) else { return Ok(()) };
        let of_method = rules.methods.get(method).map(|callers| &callers[..]).unwrap_or_default();
        let callers = || of_method.iter().chain(&rules.every_method);
        let identity = extensions.get::<PeerIdentity>();
        let deny = |subject: Option<&str>| self.0.deny(path, identity, subject, clock);
        let unauthenticated = |reason| self.0.unauthenticated(path, identity, reason, clock);
        if callers().next().is_none() {
            return Err(deny(None));
        }
        let mut credentials = Credentials {
            identity,
            #[cfg(feature = "jwt")]
            claims: None,
        };
        if callers().any(|caller| !caller.needs_token() && caller.matches(&credentials)) {
            return Ok(());
        }
        #[cfg(feature = "jwt")]
        if callers().any(Caller::needs_token) {
            match self.claims(headers) {
                Ok(Some(claims)) => {
                    credentials.claims = Some(&claims);
                    if callers().any(|caller| caller.matches(&credentials)) {
                        extensions.insert(claims);
                        return Ok(());
                    }
                    return Err(deny(Some(&*claims.sub)));
                }
                Ok(None) => {}
                Err(reason) => return Err(unauthenticated(reason)),
            }
        }
        #[cfg(not(feature = "jwt"))]
        let _ = (headers, &mut credentials);
        match identity {
            Some(_) => Err(deny(None)),
            None => Err(unauthenticated("the caller has no identity")),
        }
    }

    /// Returns the claims of the bearer token in `headers`, or `None` without the header.
    #[cfg(feature = "jwt")]
    fn claims(&self, headers: &HeaderMap) -> Result<Option<Claims>, &'static str> {
        let mut values = headers.get_all(http::header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return if headers.contains_key(http::header::AUTHORIZATION) {
                Err("the call has more than one authorization header")
            } else {
                Ok(None)
            };
        };
        let token = value.to_str().ok().and_then(|value| value.split_once(' '));
        let Some(token) = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) else {
            return Err("the authorization header is not a bearer token");
        };
        let verifier = self.0.verifier.as_ref().ok_or("the server has no verifier")?;
        verifier.verify(token.1.trim()).map(Some).map_err(|error| {
            tracing::debug!(%error, "a token was refused");
            "the token was refused"
        })
    }
}

/// The rules of an [`Access`], from [`Access::builder`].
#[derive(Debug, Default)]
#[must_use]
pub struct AccessBuilder {
    rules: Vec<(String, Vec<Caller>)>,
    #[cfg(feature = "jwt")]
    verifier: Option<Verifier>,
}

impl AccessBuilder {
    /// Permits `callers` to call the method at `path`, in addition to earlier rules. `path` is `/package.Service/Method`,
    /// or `/package.Service/*` for every method of the service, also one that does not exist.
    pub fn allow(mut self, path: impl Into<String>, callers: impl IntoIterator<Item = Caller>) -> Self {
        self.rules.push((path.into(), callers.into_iter().collect()));
        self
    }

    /// Verifies the bearer token of the metadata `authorization` with `verifier`. Handlers find the claims of a token
    /// that a rule needed in the extensions of the request. Default: none.
    ///
    /// A token is verified only if the method has a rule with a scope and no other rule permits the call.
    #[cfg(feature = "jwt")]
    pub fn verifier(mut self, verifier: Verifier) -> Self {
        self.verifier = Some(verifier);
        self
    }

    /// Creates the rules.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`] if a path is not `/service/method`, contains `%`, or has a wildcard that is not a
    /// whole method, a rule has no callers, a SPIFFE id, DNS name or scope can match no caller, or a rule with a scope is
    /// used without a verifier.
    pub fn build(self) -> Result<Access, Error> {
        let mut services = HashMap::<String, ServiceRules>::new();
        #[cfg(feature = "jwt")]
        let has_verifier = self.verifier.is_some();
        #[cfg(not(feature = "jwt"))]
        let has_verifier = false;
        for (path, callers) in self.rules {
            let in_rule = |error: Error| error.context(format_args!("rule of access for {path}"));
            let Some((service, method)) = split(&path) else {
                return Err(in_rule(Error::invalid(
                    "the path must be /package.Service/Method or /package.Service/*",
                )));
            };
            if path.contains('%') {
                return Err(in_rule(Error::invalid("the path must not contain %: calls of it are denied")));
            }
            if service.contains('*') || (method != "*" && method.contains('*')) {
                return Err(in_rule(Error::invalid(
                    "a wildcard stands for all methods of one service: /package.Service/*",
                )));
            }
            if callers.is_empty() {
                return Err(in_rule(Error::invalid("name the callers; Caller::anyone() permits all")));
            }
            callers.iter().try_for_each(Caller::check).map_err(in_rule)?;
            if !has_verifier && callers.iter().any(Caller::needs_token) {
                return Err(in_rule(Error::invalid("a rule with a scope needs AccessBuilder::verifier")));
            }
            let rules = services.entry(service.to_owned()).or_default();
            match method {
                "*" => rules.every_method.extend(callers),
                method => rules.methods.entry(method.to_owned()).or_default().extend(callers),
            }
        }
        Ok(Access(Arc::new(Rules {
            services,
            #[cfg(feature = "jwt")]
            verifier: self.verifier,
            unauthenticated_log: LogLimit::new(),
            denied_log: LogLimit::new(),
        })))
    }
}

/// Splits `/service/method`. The part after the first slash of the method is part of its name, as in tonic's routes.
fn split(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix('/')?
        .split_once('/')
        .filter(|(service, method)| !service.is_empty() && !method.is_empty())
}

/// Returns the part of a path that is logged: a peer can send any path.
pub(super) fn logged(path: &str) -> &str {
    path.get(..path.floor_char_boundary(128)).unwrap_or_default()
}

impl Rules {
    fn unauthenticated(
        &self,
        path: &str,
        identity: Option<&PeerIdentity>,
        reason: &'static str,
        clock: &Clock,
    ) -> Status {
        let (method, identity) = (logged(path), identity.map(tracing::field::display));
        let text = "a call without valid credentials was refused";
        match self.unauthenticated_log.admit(clock) {
            Some(suppressed) => {
                tracing::warn!(rpc.method = method, identity, reason, suppressed, "{text}");
            }
            None => tracing::debug!(rpc.method = method, identity, reason, "{text}"),
        }
        refuse(Error::unauthenticated("send valid credentials"))
    }

    fn deny(
        &self,
        path: &str,
        identity: Option<&PeerIdentity>,
        subject: Option<&str>,
        clock: &Clock,
    ) -> Status {
        let (method, identity) = (logged(path), identity.map(tracing::field::display));
        let text = "a call was refused: no rule of access permits it";
        match self.denied_log.admit(clock) {
            Some(suppressed) => {
                tracing::warn!(rpc.method = method, identity, subject, suppressed, "{text}");
            }
            None => tracing::debug!(rpc.method = method, identity, subject, "{text}"),
        }
        refuse(Error::permission_denied("the caller may not call this method"))
    }
}

/// Returns the status of a call that is refused before its handler. The proof has the kind of the error, so a client
/// that repeats calls on proofs alone repeats only `NotExecuted`.
fn refuse(error: Error) -> Status {
    let kind: ErrorKind = error.kind;
    Refusal::attach(to_status(&error), kind)
}
