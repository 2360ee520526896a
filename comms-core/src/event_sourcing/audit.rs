//! The principal that caused an event, and the reason.

use std::sync::Arc;

use crate::{Headers, Message, wire};

/// The kind of principal that caused an event, as in the `CloudEvents` extension
/// [Auth Context](https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/authcontext.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthType {
    /// A user of an application, `app_user`.
    AppUser,
    /// A user of the system or the cloud, `user`.
    User,
    /// A service account, `service_account`.
    ServiceAccount,
    /// An API key, `api_key`.
    ApiKey,
    /// The system itself, such as a timer, `system`.
    System,
    /// A caller without credentials, `unauthenticated`.
    Unauthenticated,
    /// Not known, or of a kind that this version does not read, `unknown`.
    Unknown,
}

impl AuthType {
    const ALL: [Self; 7] = [
        Self::AppUser,
        Self::User,
        Self::ServiceAccount,
        Self::ApiKey,
        Self::System,
        Self::Unauthenticated,
        Self::Unknown,
    ];

    /// Returns the value of the header [`wire::CE_AUTH_TYPE`].
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AppUser => "app_user",
            Self::User => "user",
            Self::ServiceAccount => "service_account",
            Self::ApiKey => "api_key",
            Self::System => "system",
            Self::Unauthenticated => "unauthenticated",
            Self::Unknown => "unknown",
        }
    }
}

/// The principal that caused the events of a command, and the reason. Stored in the headers of each event.
///
/// The request or event that caused them is in the headers already, as the correlation id and the causation id of the
/// [`Context`](crate::context::Context).
///
/// ```
/// use comms_core::event_sourcing::{Audit, AuthType};
/// let audit = Audit::new(AuthType::AppUser, "ann").reason("refund agreed by phone");
/// # drop(audit);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Audit {
    /// The kind of principal, header [`wire::CE_AUTH_TYPE`].
    pub auth_type: AuthType,
    /// The id of the principal, header [`wire::CE_AUTH_ID`]. Not its name or mail address: events are never deleted.
    pub auth_id: Arc<str>,
    /// The reason, header [`wire::CE_REASON`]. Default: none.
    pub reason: Option<Arc<str>>,
}

impl Audit {
    /// Names the principal `id` of the kind `auth_type`.
    #[must_use]
    pub fn new(auth_type: AuthType, id: impl Into<Arc<str>>) -> Self {
        Self { auth_type, auth_id: id.into(), reason: None }
    }

    /// Adds the reason.
    #[must_use]
    pub fn reason(self, reason: impl Into<Arc<str>>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }

    /// Returns the audit of an event. Returns `None` if the event has none.
    #[must_use]
    pub fn of(event: &Message) -> Option<Self> {
        let headers = event.headers();
        let text = headers.text(wire::CE_AUTH_TYPE)?;
        let known = AuthType::ALL.into_iter().find(|auth_type| auth_type.as_str() == text);
        Some(Self {
            auth_type: known.unwrap_or(AuthType::Unknown),
            auth_id: headers.text(wire::CE_AUTH_ID).unwrap_or_default().into(),
            reason: headers.text(wire::CE_REASON).map(Into::into),
        })
    }

    pub(super) fn write(&self, headers: &mut Headers) {
        headers.insert(wire::CE_AUTH_TYPE, self.auth_type.as_str());
        headers.insert(wire::CE_AUTH_ID, &*self.auth_id);
        if let Some(reason) = &self.reason {
            headers.insert(wire::CE_REASON, &**reason);
        }
    }
}
