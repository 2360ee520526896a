//! Records handled messages in the handler's transaction.

use std::collections::BTreeSet;

use comms_core::{Claim, Claimed, Error};
use sqlx::{
    Connection, PgConnection, Postgres, Row,
    postgres::{PgArguments, PgRow},
    query::Query,
};

use super::Tables;
use crate::sql_error;

/// Claims all of the claims, or fails if one is made already. A claim that another open transaction has made waits until
/// that transaction ends.
const CLAIM_ALL: &str = "
INSERT INTO {s}.comms_inbox (subscriber, handler, source, id)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])";

/// Makes the claims that are not made already. It takes two to three times as long as [`CLAIM_ALL`], because each row
/// is inserted tentatively.
const CLAIM_NEW: &str = "
INSERT INTO {s}.comms_inbox (subscriber, handler, source, id)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
ON CONFLICT DO NOTHING
RETURNING subscriber, handler, source, id";

/// The least number of claims for which the two round trips of a savepoint are worth [`CLAIM_ALL`].
const MANY: usize = 32;

impl Tables {
    /// Claims all of `claims`, and returns one result for each, in order. Many claims take three round trips if all of
    /// them are new, and one more otherwise; few claims take one. If some of many claims are made already, the server logs
    /// an error `duplicate key value violates unique constraint "comms_inbox_pkey"`, which is harmless: a batch was
    /// delivered again.
    ///
    /// Of equal claims in one call the first is `New`. If another open transaction has made a claim, this call waits
    /// until that transaction ends: the result is `Seen` if it committed, and `New` if it rolled back.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Conflict`](comms_core::ErrorKind::Conflict) if the other transaction committed and the
    /// isolation level is above READ COMMITTED. Otherwise returns an error of the kind that [`sql_error`] lists if a
    /// statement fails.
    pub async fn claim(&self, conn: &mut PgConnection, claims: &[Claim]) -> Result<Vec<Claimed>, Error> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        // Sorted, so that two batches take their locks in the same order.
        let mut new: BTreeSet<Claim> = claims.iter().cloned().collect();
        let is_done = new.len() >= MANY && conn.is_in_transaction() && self.claim_all(conn, &new).await?;
        if !is_done {
            let rows = self.claims(CLAIM_NEW, &new).fetch_all(conn).await.map_err(sql_error)?;
            new = rows.iter().map(read).collect::<Result<_, _>>().map_err(sql_error)?;
        }
        let answer = |claim: &Claim| if new.remove(claim) { Claimed::New } else { Claimed::Seen };
        Ok(claims.iter().map(answer).collect())
    }

    /// Returns `false`, and makes none of the claims, if one is made already. A savepoint keeps the transaction usable.
    async fn claim_all(&self, conn: &mut PgConnection, claims: &BTreeSet<Claim>) -> Result<bool, Error> {
        // Not a transaction of sqlx: cancelled while it begins, it would end the caller's transaction.
        execute(conn, "SAVEPOINT comms_claim").await?;
        match self.claims(CLAIM_ALL, claims).execute(&mut *conn).await {
            Ok(_) => execute(conn, "RELEASE comms_claim").await.map(|()| true),
            Err(error) if error.as_database_error().is_some_and(|error| error.is_unique_violation()) => {
                execute(conn, "ROLLBACK TO comms_claim; RELEASE comms_claim").await.map(|()| false)
            }
            Err(error) => Err(sql_error(error)),
        }
    }

    fn claims(&self, text: &'static str, claims: &BTreeSet<Claim>) -> Query<'static, Postgres, PgArguments> {
        let column = |f: fn(&Claim) -> &str| claims.iter().map(f).collect::<Vec<_>>();
        self.query(text)
            .bind(column(|c| &c.subscriber))
            .bind(column(|c| &c.handler))
            .bind(column(|c| &c.source))
            .bind(column(|c| &c.id))
    }
}

async fn execute(conn: &mut PgConnection, text: &'static str) -> Result<(), Error> {
    sqlx::raw_sql(text).execute(conn).await.map(drop).map_err(sql_error)
}

fn read(row: &PgRow) -> Result<Claim, sqlx::Error> {
    let text = |column: usize| row.try_get::<&str, _>(column).map(Into::into);
    Ok(Claim { subscriber: text(0)?, handler: text(1)?, source: text(2)?, id: text(3)? })
}
