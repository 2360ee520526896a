//! The check of tokens that arrive in frames.

use comms_core::{Error, async_trait};

use super::Session;

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
