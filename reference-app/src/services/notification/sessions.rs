//! The rights of a session, from the token or the ticket of its client.

use comms_core::{
    Error,
    jwt::{Claims, Verifier},
};
use comms_ws::{Hub, Session};

use super::{domain, store::Store};

/// Creates the sessions of users. Clones share the verifier and the database.
#[derive(Clone)]
pub(super) struct Sessions {
    pub(super) verifier: Verifier,
    pub(super) store: Store,
}

impl Sessions {
    /// Returns the session of the bearer of `token`.
    ///
    /// # Errors
    /// Returns `Unauthenticated` if the verifier refuses the token.
    pub(super) fn of_token(&self, token: &str) -> Result<Session, Error> {
        let claims =
            self.verifier.verify(token).map_err(|error| Error::unauthenticated(error.to_string()))?;
        Ok(self.of_claims(claims))
    }

    /// Returns the session of the bearer of a token with `claims`. It ends with the token.
    pub(super) fn of_claims(&self, claims: Claims) -> Session {
        let end = self.verifier.expires_at_unix(&claims);
        self.session(&claims.sub, end)
    }

    /// Returns a ticket with the rights of a token with `claims`.
    ///
    /// # Errors
    /// Returns `Fatal` if the system has no random source.
    pub(super) fn issue_ticket(&self, hub: &Hub, claims: &Claims) -> Result<String, Error> {
        hub.issue_ticket(&format!("{} {}", self.verifier.expires_at_unix(claims), claims.sub))
    }

    /// Returns the session of `ticket`, or `None` if the ticket opens none.
    ///
    /// # Errors
    /// Returns the error of the backplane.
    pub(super) async fn of_ticket(&self, hub: &Hub, ticket: &str) -> Result<Option<Session>, Error> {
        let subject = hub.redeem_ticket(ticket).await?;
        let parts = subject.as_deref().and_then(|subject| subject.split_once(' '));
        Ok(parts.and_then(|(end, user)| Some(self.session(user, end.parse().ok()?))))
    }

    /// Returns a session of `user`, who receives the own topic, and may subscribe to the topics of the own orders. It ends
    /// at `end`, in seconds after the Unix epoch.
    fn session(&self, user: &str, end: u64) -> Session {
        let (store, buyer) = (self.store.clone(), user.to_owned());
        let allow = move |topic: &str| may_read(store.clone(), buyer.clone(), topic.to_owned());
        Session::new(user, vec![domain::user_topic(user)]).allow_async(allow).expires_at_unix(end)
    }
}

/// Returns whether `user` may read `topic`.
///
/// # Errors
/// Returns the error of the database. The client asks again then.
async fn may_read(store: Store, user: String, topic: String) -> Result<bool, Error> {
    match domain::order_of(&topic) {
        Some(order_id) => store.is_buyer(&user, order_id).await,
        None => Ok(topic == domain::user_topic(&user)),
    }
}
