//! Commands that are executed once for each idempotency key.

use std::{
    future::Future,
    sync::Arc,
    task::{Context, Poll},
};

use serde::{Serialize, de::DeserializeOwned};
use tower_service::Service;

use super::{CommandFn, CommandFuture, CommandRequest};
use crate::{
    Error, ErrorKind, Scoped,
    idempotency::{CallKey, Replies, StoredReply, reply_once},
    in_transaction,
};

impl<U: Replies, F> CommandFn<U, F> {
    /// Executes each idempotency key once, and returns the stored reply to a repetition.
    ///
    /// The reply is stored as JSON in the transaction of the effect, with [`reply_once`]. The key belongs to the caller
    /// and to `operation`, which is the name of the command and must not change. The command as JSON is the fingerprint:
    /// another command with the same key is refused. So a command serializes in the same way each time (a `BTreeMap` and
    /// not a `HashMap`), and a field that is added later is skipped if it has its default value. A later program must read
    /// the replies of an earlier one.
    ///
    /// A refused command stores no reply, so that it can be repeated with its key.
    ///
    /// # Errors
    /// The service returns [`Invalid`](ErrorKind::Invalid) without a key, unless
    /// [`IdempotentCommandFn::optional_key`] is set, and for a key that is not valid or was used for another command. It
    /// returns [`Unauthenticated`](ErrorKind::Unauthenticated) for a key of a caller that is not
    /// [authenticated](super::Caller::is_authenticated), because all such callers would share their keys. It returns
    /// [`Internal`](ErrorKind::Internal) if a reply does not encode as JSON (the transaction is then rolled back) or a
    /// stored reply does not decode. Otherwise it returns the errors of [`reply_once`].
    #[must_use]
    pub fn idempotent(self, operation: impl Into<Arc<str>>) -> IdempotentCommandFn<U, F> {
        IdempotentCommandFn { command: self, operation: operation.into(), key_required: true }
    }
}

/// A command service that executes each idempotency key once, created by [`CommandFn::idempotent`]. Always ready.
#[derive(Debug, Clone)]
pub struct IdempotentCommandFn<U, F> {
    command: CommandFn<U, F>,
    operation: Arc<str>,
    key_required: bool,
}

impl<U, F> IdempotentCommandFn<U, F> {
    /// Executes a request without a key too, each time it comes. Default: such a request is refused.
    #[must_use]
    pub fn optional_key(self) -> Self {
        Self { key_required: false, ..self }
    }

    /// Returns the key of the request in the scope of its caller, or `None` if it has none and needs none.
    fn call_key<C: Serialize>(&self, request: &CommandRequest<C>) -> Result<Option<CallKey>, Error> {
        let CommandRequest { caller, command, idempotency_key } = request;
        let Some(key) = idempotency_key else {
            return match self.key_required {
                true => Err(Error::invalid(format!("{} needs an idempotency key", self.operation))),
                false => Ok(None),
            };
        };
        if !caller.is_authenticated() {
            return Err(Error::unauthenticated("an idempotency key needs an authenticated caller"));
        }
        // Ids are unique within a kind of principals only.
        let principal = format!("{}:{}", caller.auth_type.as_str(), caller.id);
        let command = serde_json::to_vec(command).map_err(Error::internal)?;
        CallKey::new(&principal, &self.operation, key, &command).map(Some)
    }
}

impl<U, C, F, Fut, R> Service<CommandRequest<C>> for IdempotentCommandFn<U, F>
where
    U: Replies,
    C: Serialize + Send + 'static,
    F: Fn(CommandRequest<C>, Scoped<U::Tx>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<R, Error>> + Send + 'static,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    type Response = R;
    type Error = Error;
    type Future = CommandFuture<R>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: CommandRequest<C>) -> CommandFuture<R> {
        let key = self.call_key(&request);
        let CommandFn { unit, function } = self.command.clone();
        Box::pin(async move {
            let Some(key) = key? else {
                return in_transaction(&unit, move |tx| function(request, tx)).await;
            };
            let execute = move |tx| async move { encode(&function(request, tx).await?) };
            let replied = reply_once(&unit, &key, execute).await?;
            decode(&replied.reply)
        })
    }
}

/// Encodes a reply. One that cannot be decoded again is refused before the commit, and not at the first repetition.
fn encode<R: Serialize + DeserializeOwned>(reply: &R) -> Result<StoredReply, Error> {
    let body =
        serde_json::to_vec(reply).map_err(|error| Error::internal(error).context("encode the reply"))?;
    let stored = StoredReply::new(0, body);
    decode::<R>(&stored).map(|_| stored)
}

fn decode<R: DeserializeOwned>(stored: &StoredReply) -> Result<R, Error> {
    serde_json::from_slice(&stored.body)
        .map_err(|error| Error::new(ErrorKind::Internal, error).context("decode the stored reply"))
}
