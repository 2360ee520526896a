//! The principal that sends a command.

use std::sync::Arc;

use crate::event_sourcing::{Audit, AuthType};

/// The principal that sends a command: its kind, its id and its scopes.
///
/// ```
/// use comms_core::{command::Caller, event_sourcing::AuthType};
/// let ann = Caller::new(AuthType::AppUser, "ann").with_scopes("accounts:read accounts:write");
/// assert!(ann.is_authenticated() && ann.has_scope("accounts:write"));
/// assert!(!Caller::anonymous().is_authenticated());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caller {
    /// The kind of principal.
    pub auth_type: AuthType,
    /// The id of the principal, unique among those of its kind.
    pub id: Arc<str>,
    /// The scopes or roles of the principal, separated by spaces. Default: none.
    pub scopes: Arc<str>,
}

impl Caller {
    /// Names the principal `id` of the kind `auth_type`, without scopes.
    #[must_use]
    pub fn new(auth_type: AuthType, id: impl Into<Arc<str>>) -> Self {
        Self { auth_type, id: id.into(), scopes: "".into() }
    }

    /// Returns a caller without credentials.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::new(AuthType::Unauthenticated, "")
    }

    /// Returns the subject of a verified token, with the scopes of the token. `auth_type` is the kind of principal to
    /// which the issuer gives tokens.
    #[cfg(feature = "jwt")]
    #[must_use]
    pub fn of_claims(auth_type: AuthType, claims: &crate::jwt::Claims) -> Self {
        Self::new(auth_type, &*claims.sub).with_scopes(&*claims.scope)
    }

    /// Sets the scopes or roles, separated by spaces.
    #[must_use]
    pub fn with_scopes(self, scopes: impl Into<Arc<str>>) -> Self {
        Self { scopes: scopes.into(), ..self }
    }

    /// Returns whether the caller has the scope or role `scope`. The comparison is case-sensitive.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.split_ascii_whitespace().any(|other| other == scope)
    }

    /// Returns whether the principal is known: the id is not empty, and the kind is neither
    /// [`AuthType::Unauthenticated`] nor [`AuthType::Unknown`].
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        !self.id.is_empty() && !matches!(self.auth_type, AuthType::Unauthenticated | AuthType::Unknown)
    }

    /// Returns the audit for the events that a command of this caller causes, see
    /// [`Repository::audited`](crate::event_sourcing::Repository::audited).
    #[must_use]
    pub fn audit(&self) -> Audit {
        Audit::new(self.auth_type, self.id.clone())
    }
}
