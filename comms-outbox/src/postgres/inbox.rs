//! Remembering, in the handler's own transaction, what has been applied.

use std::collections::HashSet;

use comms_core::{Claim, Claimed, Error};
use sqlx::{PgConnection, Row};

use super::Tables;
use crate::sql_error;

/// Sorted, so that two batches take their locks in the same order. A claim that another transaction has
/// open waits for its end.
pub(super) const CLAIM: &str = "
INSERT INTO {s}.comms_inbox (subscriber, source, id)
SELECT DISTINCT c.subscriber, c.source, c.id
FROM unnest($1::text[], $2::text[], $3::text[]) AS c (subscriber, source, id)
ORDER BY 1, 2, 3
ON CONFLICT DO NOTHING
RETURNING subscriber, source, id";

impl Tables {
    /// Claims all of `claims` in one round trip: one answer each, in order. Of equal claims in one call the
    /// first is `New`. Waits for another transaction that claims the same, and answers by how that one ended.
    ///
    /// # Errors
    /// The database's; `Conflict` above READ COMMITTED where the other one committed.
    pub async fn claim(&self, conn: &mut PgConnection, claims: &[Claim]) -> Result<Vec<Claimed>, Error> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let column = |f: fn(&Claim) -> &str| claims.iter().map(f).collect::<Vec<_>>();
        let rows = sqlx::query(self.sql.claim.clone())
            .bind(column(|c| &c.subscriber))
            .bind(column(|c| &c.source))
            .bind(column(|c| &c.id))
            .fetch_all(conn)
            .await
            .map_err(sql_error)?;
        let triple = |row: &'_ sqlx::postgres::PgRow| -> Result<(String, String, String), sqlx::Error> {
            Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
        };
        let mut new = rows.iter().map(triple).collect::<Result<HashSet<_>, _>>().map_err(sql_error)?;
        let answer = |claim: &Claim| {
            let triple = (claim.subscriber.to_string(), claim.source.to_string(), claim.id.to_string());
            if new.remove(&triple) { Claimed::New } else { Claimed::Seen }
        };
        Ok(claims.iter().map(answer).collect())
    }
}
