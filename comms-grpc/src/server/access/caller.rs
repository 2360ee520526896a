//! The callers that a rule of access permits.

use comms_core::Error;
#[cfg(feature = "jwt")]
use comms_core::jwt::Claims;

use crate::peer_identity::PeerIdentity;

/// What is known about the caller of a call.
pub(super) struct Credentials<'a> {
    pub(super) identity: Option<&'a PeerIdentity>,
    #[cfg(feature = "jwt")]
    pub(super) claims: Option<&'a Claims>,
}

/// A rule that a caller must match, for [`AccessBuilder::allow`](super::AccessBuilder::allow).
///
/// A caller matches if it meets every condition of the rule.
///
/// ```
/// use comms_grpc::Caller;
///
/// let order_service = Caller::spiffe_id("spiffe://shop.example/order");
/// let any_job = Caller::spiffe_id("spiffe://shop.example/jobs/*");
/// let console = Caller::dns_name("console.internal");
/// # let _ = (order_service, any_job, console);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Caller {
    spiffe_id: Option<String>,
    dns_name: Option<String>,
    #[cfg(feature = "jwt")]
    scope: Option<String>,
}

impl Caller {
    /// Permits every caller, also one without an identity.
    #[must_use]
    pub fn anyone() -> Self {
        Self::default()
    }

    /// Permits callers whose certificate has the SPIFFE id `id`. An id that ends in `/*` permits every id below the
    /// path: `spiffe://shop.example/jobs/*` permits `spiffe://shop.example/jobs/nightly`.
    #[must_use]
    pub fn spiffe_id(id: impl Into<String>) -> Self {
        Self { spiffe_id: Some(id.into()), ..Self::default() }
    }

    /// Permits callers whose certificate has the DNS name `name`. The comparison ignores the case of ASCII letters.
    #[must_use]
    pub fn dns_name(name: impl Into<String>) -> Self {
        Self { dns_name: Some(name.into()), ..Self::default() }
    }

    /// Permits callers whose token has the scope `scope`, see [`AccessBuilder::verifier`](super::AccessBuilder::verifier).
    #[cfg(feature = "jwt")]
    #[must_use]
    pub fn scope(scope: impl Into<String>) -> Self {
        Self::anyone().with_scope(scope)
    }

    /// Requires in addition that the token of the caller has the scope `scope`.
    #[cfg(feature = "jwt")]
    #[must_use]
    pub fn with_scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// Returns whether the rule needs the claims of a token.
    pub(super) const fn needs_token(&self) -> bool {
        #[cfg(feature = "jwt")]
        return self.scope.is_some();
        #[cfg(not(feature = "jwt"))]
        return false;
    }

    pub(super) fn matches(&self, caller: &Credentials<'_>) -> bool {
        let has_id = self.spiffe_id.as_deref().is_none_or(|pattern| {
            let id = caller.identity.and_then(|identity| identity.spiffe_id.as_deref());
            id.is_some_and(|id| matches_id(pattern, id))
        });
        let has_name = self.dns_name.as_deref().is_none_or(|expected| {
            let names = caller.identity.map(|identity| &identity.dns_names[..]).unwrap_or_default();
            names.iter().any(|name| name.eq_ignore_ascii_case(expected))
        });
        has_id && has_name && self.has_scope(caller)
    }

    #[cfg(feature = "jwt")]
    fn has_scope(&self, caller: &Credentials<'_>) -> bool {
        let claims = caller.claims;
        self.scope.as_deref().is_none_or(|scope| claims.is_some_and(|claims| claims.has_scope(scope)))
    }

    #[cfg(not(feature = "jwt"))]
    const fn has_scope(&self, _: &Credentials<'_>) -> bool {
        true
    }

    /// Checks that a caller can match.
    pub(super) fn check(&self) -> Result<(), Error> {
        if let Some(id) = &self.spiffe_id {
            let path = id.strip_prefix("spiffe://").map(|rest| rest.strip_suffix("/*").unwrap_or(rest));
            if path.is_none_or(|path| path.is_empty() || path.contains('*') || path.ends_with('/')) {
                return Err(Error::invalid(format!(
                    "a SPIFFE id of a rule is spiffe://domain/path, or ends in /* for all ids below: {id:?}"
                )));
            }
        }
        if self.dns_name.as_deref().is_some_and(|name| name.is_empty() || name.contains('*')) {
            return Err(Error::invalid("a DNS name of a rule must be a whole name without wildcards"));
        }
        #[cfg(feature = "jwt")]
        if self.scope.as_deref().is_some_and(|scope| scope.is_empty() || scope.contains(char::is_whitespace))
        {
            return Err(Error::invalid("a scope of a rule must be one word"));
        }
        Ok(())
    }
}

/// Returns whether `id` is the SPIFFE id `pattern`, or is below the path of a `pattern` that ends in `/*`.
fn matches_id(pattern: &str, id: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => id.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()),
        None => id == pattern,
    }
}
