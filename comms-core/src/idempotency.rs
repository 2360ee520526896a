//! Requests that may be sent again: the reply of the first is stored and replayed.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::{future::Future, sync::Arc, time::Duration};

use crate::{Error, Scoped, UnitOfWork, unit::lend};

/// The longest key that is accepted, in bytes.
pub const KEY_LIMIT: usize = 255;

/// Whether `key` is 1 to [`KEY_LIMIT`] printable ASCII characters, not all blank.
#[must_use]
pub fn is_key(key: &str) -> bool {
    let printable = key.bytes().all(|b| (0x20..0x7f).contains(&b));
    !key.trim().is_empty() && key.len() <= KEY_LIMIT && printable
}

/// The identity of a request: scoped by principal and operation, or one user gets another's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallKey {
    /// Principal and operation.
    pub scope: Arc<str>,
    /// What the caller chose.
    pub key: Arc<str>,
    /// SHA-256 of the request: the same key with another request is a mistake.
    pub fingerprint: [u8; 32],
}

impl CallKey {
    /// The key of `request` (its canonical bytes), asked by `principal` of `operation`.
    ///
    /// # Errors
    /// `Invalid` for a key that is empty, over [`KEY_LIMIT`] bytes, or has bytes outside printable ASCII.
    pub fn new(principal: &str, operation: &str, key: &str, request: &[u8]) -> Result<Self, Error> {
        if !is_key(key) {
            return Err(Error::invalid(format!(
                "an idempotency key is 1 to {KEY_LIMIT} printable ASCII characters"
            )));
        }
        // The length keeps ("a", "b/c") and ("a/b", "c") apart.
        let scope = format!("{}:{principal}/{operation}", principal.len()).into();
        Ok(Self { scope, key: key.into(), fingerprint: Sha256::digest(request).into() })
    }
}

/// A reply kept for the next time the same request comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReply {
    /// Protocol status, in the application's own numbers.
    pub status: i32,
    /// The encoded reply.
    pub body: Bytes,
}

/// What to do with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admit {
    /// First time: run it, and answer in the same transaction.
    Run,
    /// Done before: this was the reply.
    Replay(StoredReply),
    /// Another runs it now.
    InFlight {
        /// When asking again makes sense.
        retry_after: Duration,
    },
    /// The key was used for another request.
    Mismatch,
}

/// Stored replies in the caller's transaction: reply and effect commit together, nothing is ever stuck.
pub trait Replies: UnitOfWork {
    /// Admits the request of `key`. Waits for a transaction that holds the same key.
    ///
    /// # Errors
    /// The database's.
    fn admit(&self, tx: &mut Self::Tx, key: &CallKey) -> impl Future<Output = Result<Admit, Error>> + Send;

    /// Stores the reply of a request admitted with [`Admit::Run`] in this transaction.
    ///
    /// # Errors
    /// The database's.
    fn answer(
        &self,
        tx: &mut Self::Tx,
        key: &CallKey,
        reply: &StoredReply,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

/// A reply, and whether an earlier request made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replied {
    /// What to answer.
    pub reply: StoredReply,
    /// The effect had been committed before; nothing was done again.
    pub replayed: bool,
}

/// Runs `work` once per key: its effect and its reply commit in one transaction, and the same request sent
/// again gets that reply. An error of `work` rolls back and stores nothing, so that it may be tried again.
///
/// # Errors
/// `Conflict` while another request of this key runs; `Invalid` where the key was used for another request;
/// those of `work` and of the database.
pub async fn reply_once<U, F, Fut>(unit: &U, call: &CallKey, work: F) -> Result<Replied, Error>
where
    U: Replies,
    F: FnOnce(Scoped<U::Tx>) -> Fut,
    Fut: Future<Output = Result<StoredReply, Error>>,
{
    let mut tx = unit.begin().await?;
    match unit.admit(&mut tx, call).await? {
        Admit::Run => {}
        Admit::Replay(reply) => return Ok(Replied { reply, replayed: true }),
        Admit::InFlight { retry_after } => {
            let error = Error::conflict("a request with this idempotency key is being handled");
            return Err(error.with_retry_after(retry_after));
        }
        Admit::Mismatch => return Err(Error::invalid("this idempotency key was used for another request")),
    }
    let (mut tx, reply) = lend(tx, work).await?;
    unit.answer(&mut tx, call, &reply).await?;
    unit.commit(tx).await?;
    Ok(Replied { reply, replayed: false })
}
