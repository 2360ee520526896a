//! Records handled messages in the handler's transaction.

use std::collections::HashSet;

use comms_core::{Claim, Claimed, Error};
use sqlx::{PgConnection, Row, postgres::PgRow};

use super::Tables;
use crate::sql_error;

/// The claims are sorted, so that two batches take their locks in the same order. A claim that another open transaction
/// has made waits until that transaction ends.
const CLAIM: &str = "
INSERT INTO {s}.comms_inbox (subscriber, handler, source, id)
SELECT DISTINCT c.subscriber, c.handler, c.source, c.id
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS c (subscriber, handler, source, id)
ORDER BY 1, 2, 3, 4
ON CONFLICT DO NOTHING
RETURNING subscriber, handler, source, id";

impl Tables {
    /// Claims all of `claims` in one round trip, and returns one result for each, in order.
    ///
    /// Of equal claims in one call the first is `New`. If another open transaction has made a claim, this call waits
    /// until that transaction ends: the result is `Seen` if it committed, and `New` if it rolled back.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Conflict`](comms_core::ErrorKind::Conflict) if the other transaction committed and the
    /// isolation level is above READ COMMITTED. Otherwise returns an error of the kind that [`sql_error`] lists if the
    /// statement fails.
    pub async fn claim(&self, conn: &mut PgConnection, claims: &[Claim]) -> Result<Vec<Claimed>, Error> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let column = |f: fn(&Claim) -> &str| claims.iter().map(f).collect::<Vec<_>>();
        let rows = self
            .query(CLAIM)
            .bind(column(|c| &c.subscriber))
            .bind(column(|c| &c.handler))
            .bind(column(|c| &c.source))
            .bind(column(|c| &c.id))
            .fetch_all(conn)
            .await
            .map_err(sql_error)?;
        let mut new = rows.iter().map(read).collect::<Result<HashSet<_>, _>>().map_err(sql_error)?;
        let answer = |claim: &Claim| if new.remove(claim) { Claimed::New } else { Claimed::Seen };
        Ok(claims.iter().map(answer).collect())
    }
}

fn read(row: &PgRow) -> Result<Claim, sqlx::Error> {
    let text = |column: usize| row.try_get::<&str, _>(column).map(Into::into);
    Ok(Claim { subscriber: text(0)?, handler: text(1)?, source: text(2)?, id: text(3)? })
}
