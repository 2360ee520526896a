//! The check of tokens that arrive in frames.

use std::time::Duration;

use comms_core::{Error, async_trait};

use super::Session;
use crate::hub::state::HubState;

/// The time limit of the check of a token.
const LIMIT: Duration = Duration::from_secs(5);

/// Turns a token into the rights of its bearer. Every function from a token to a future has it.
#[async_trait]
pub(crate) trait Authenticate: Send + Sync + 'static {
    async fn authenticate(&self, token: String) -> Result<Session, Error>;
}

#[async_trait]
impl<F, Fut> Authenticate for F
where
    F: Fn(String) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Session, Error>> + Send + 'static,
{
    async fn authenticate(&self, token: String) -> Result<Session, Error> {
        self(token).await
    }
}

/// Returns the rights of the bearer of `token`, or `None` if there are none.
pub(super) async fn check(hub: &HubState, token: String) -> Option<Session> {
    let authenticate = hub.authenticate.as_ref()?;
    match hub.env.clock.timeout(LIMIT, authenticate.authenticate(token)).await {
        Ok(Ok(session)) => Some(session),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a token was refused");
            None
        }
        Err(_) => {
            tracing::warn!(limit = ?LIMIT, "the check of a token took too long");
            None
        }
    }
}
