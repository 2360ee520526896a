//! Requests that may be sent again: the reply of the first is stored and replayed.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::{future::Future, sync::Arc, time::Duration};

use crate::{Error, UnitOfWork};

/// The longest key that is accepted, in bytes.
pub const KEY_LIMIT: usize = 255;

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
        let printable = key.bytes().all(|b| (0x20..0x7f).contains(&b));
        if key.trim().is_empty() || key.len() > KEY_LIMIT || !printable {
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
