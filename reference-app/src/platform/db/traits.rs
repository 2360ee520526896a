//! Implements the traits of comms-core ([`Inbox`], [`Outbox`], [`Replies`], [`EventStore`]) for both databases, with
//! the tables of comms-outbox.

use comms_core::{
    Claim, Claimed, Error, Inbox, Message, Outbox,
    event_sourcing::{Append, Appended, EventStore, Read, Recorded, Snapshot, Stream},
    idempotency::{Admission, CallKey, Replies, StoredReply},
};

use super::{Backend, Db, Tx, tx::TxBackend};

/// The error for a transaction of the other database. It is a defect of this program.
pub(super) fn wrong_database() -> Error {
    Error::internal("a transaction of one database was used with the other database")
}

impl Inbox for Db {
    async fn claim(&self, tx: &mut Tx, claims: &[Claim]) -> Result<Vec<Claimed>, Error> {
        let result = match (&self.0.backend, &mut tx.backend) {
            (Backend::Postgres { tables, .. }, TxBackend::Postgres(tx)) => tables.claim(tx, claims).await,
            (Backend::Sqlite { tables, .. }, TxBackend::Sqlite(tx)) => tables.claim(tx, claims).await,
            _ => Err(wrong_database()),
        };
        tx.checked(result)
    }
}

impl Outbox for Db {
    async fn enqueue(&self, tx: &mut Tx, messages: &[Message]) -> Result<(), Error> {
        let result = match (&self.0.backend, &mut tx.backend) {
            (Backend::Postgres { tables, .. }, TxBackend::Postgres(tx)) => tables.enqueue(tx, messages).await,
            (Backend::Sqlite { tables, .. }, TxBackend::Sqlite(tx)) => tables.enqueue(tx, messages).await,
            _ => Err(wrong_database()),
        };
        tx.checked(result)
    }
}

impl Replies for Db {
    async fn admit(&self, tx: &mut Tx, key: &CallKey) -> Result<Admission, Error> {
        let result = match (&self.0.backend, &mut tx.backend) {
            (Backend::Postgres { tables, .. }, TxBackend::Postgres(tx)) => tables.admit(tx, key).await,
            (Backend::Sqlite { tables, .. }, TxBackend::Sqlite(tx)) => tables.admit(tx, key).await,
            _ => Err(wrong_database()),
        };
        tx.checked(result)
    }

    async fn complete(&self, tx: &mut Tx, key: &CallKey, reply: &StoredReply) -> Result<(), Error> {
        let result = match (&self.0.backend, &mut tx.backend) {
            (Backend::Postgres { tables, .. }, TxBackend::Postgres(tx)) => {
                tables.complete(tx, key, reply).await
            }
            (Backend::Sqlite { tables, .. }, TxBackend::Sqlite(tx)) => tables.complete(tx, key, reply).await,
            _ => Err(wrong_database()),
        };
        tx.checked(result)
    }
}

impl EventStore for Db {
    async fn append(&self, tx: &mut Tx, append: Append<'_>) -> Result<Appended, Error> {
        let result = match (&self.0.backend, &mut tx.backend) {
            (Backend::Postgres { tables, .. }, TxBackend::Postgres(tx)) => tables.append(tx, append).await,
            (Backend::Sqlite { tables, .. }, TxBackend::Sqlite(tx)) => tables.append(tx, append).await,
            _ => Err(wrong_database()),
        };
        tx.checked(result)
    }

    async fn read(&self, tx: &mut Tx, stream: &Stream, read: Read) -> Result<Vec<Recorded>, Error> {
        let result = match (&self.0.backend, &mut tx.backend) {
            (Backend::Postgres { tables, .. }, TxBackend::Postgres(tx)) => {
                tables.read_stream(tx, stream, read).await
            }
            (Backend::Sqlite { tables, .. }, TxBackend::Sqlite(tx)) => {
                tables.read_stream(tx, stream, read).await
            }
            _ => Err(wrong_database()),
        };
        tx.checked(result)
    }

    async fn snapshot(&self, tx: &mut Tx, stream: &Stream) -> Result<Option<Snapshot>, Error> {
        let result = match (&self.0.backend, &mut tx.backend) {
            (Backend::Postgres { tables, .. }, TxBackend::Postgres(tx)) => tables.snapshot(tx, stream).await,
            (Backend::Sqlite { tables, .. }, TxBackend::Sqlite(tx)) => tables.snapshot(tx, stream).await,
            _ => Err(wrong_database()),
        };
        tx.checked(result)
    }

    async fn save_snapshot(&self, tx: &mut Tx, stream: &Stream, snapshot: &Snapshot) -> Result<(), Error> {
        let result = match (&self.0.backend, &mut tx.backend) {
            (Backend::Postgres { tables, .. }, TxBackend::Postgres(tx)) => {
                tables.save_snapshot(tx, stream, snapshot).await
            }
            (Backend::Sqlite { tables, .. }, TxBackend::Sqlite(tx)) => {
                tables.save_snapshot(tx, stream, snapshot).await
            }
            _ => Err(wrong_database()),
        };
        tx.checked(result)
    }
}
