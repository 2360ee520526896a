//! The seams of comms-core on either database, by way of comms-outbox.

use comms_core::{
    Claim, Claimed, Error, Inbox, Message, Outbox,
    idempotency::{Admission, CallKey, Replies, StoredReply},
};

use super::{Backend, Db, Tx, TxBackend};

/// A transaction that belongs to the other database is a mistake of this program, not of its input.
fn foreign() -> Error {
    Error::internal("a transaction of one database was used with another")
}

impl Inbox for Db {
    async fn claim(&self, tx: &mut Tx, claims: &[Claim]) -> Result<Vec<Claimed>, Error> {
        let result = match (&self.0.backend, &mut tx.backend) {
            (Backend::Postgres { tables, .. }, TxBackend::Postgres(tx)) => tables.claim(tx, claims).await,
            (Backend::Sqlite { tables, .. }, TxBackend::Sqlite(tx)) => tables.claim(tx, claims).await,
            _ => Err(foreign()),
        };
        tx.checked(result)
    }
}

impl Outbox for Db {
    async fn enqueue(&self, tx: &mut Tx, messages: &[Message]) -> Result<(), Error> {
        let result = match (&self.0.backend, &mut tx.backend) {
            (Backend::Postgres { tables, .. }, TxBackend::Postgres(tx)) => tables.enqueue(tx, messages).await,
            (Backend::Sqlite { tables, .. }, TxBackend::Sqlite(tx)) => tables.enqueue(tx, messages).await,
            _ => Err(foreign()),
        };
        tx.checked(result)
    }
}

impl Replies for Db {
    async fn admit(&self, tx: &mut Tx, key: &CallKey) -> Result<Admission, Error> {
        let result = match (&self.0.backend, &mut tx.backend) {
            (Backend::Postgres { tables, .. }, TxBackend::Postgres(tx)) => tables.admit(tx, key).await,
            (Backend::Sqlite { tables, .. }, TxBackend::Sqlite(tx)) => tables.admit(tx, key).await,
            _ => Err(foreign()),
        };
        tx.checked(result)
    }

    async fn complete(&self, tx: &mut Tx, key: &CallKey, reply: &StoredReply) -> Result<(), Error> {
        let result = match (&self.0.backend, &mut tx.backend) {
            (Backend::Postgres { tables, .. }, TxBackend::Postgres(tx)) => {
                tables.complete(tx, key, reply).await
            }
            (Backend::Sqlite { tables, .. }, TxBackend::Sqlite(tx)) => tables.complete(tx, key, reply).await,
            _ => Err(foreign()),
        };
        tx.checked(result)
    }
}
