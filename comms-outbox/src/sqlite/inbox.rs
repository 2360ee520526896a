//! Records handled messages in the handler's transaction.

use comms_core::{Claim, Claimed, Error};
use sqlx::SqliteConnection;

use super::Tables;
use crate::sql_error;

const CLAIM: &str = "
INSERT INTO comms_inbox (subscriber, handler, source, id) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";

impl Tables {
    /// Claims all of `claims`, and returns one result for each, in order. Of equal claims in one call the first is
    /// `New`. No other transaction can have an open claim, because SQLite has one writer at a time.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if a statement fails.
    pub async fn claim(&self, conn: &mut SqliteConnection, claims: &[Claim]) -> Result<Vec<Claimed>, Error> {
        let mut answers = Vec::with_capacity(claims.len());
        for claim in claims {
            let done = sqlx::query(CLAIM)
                .bind(&*claim.subscriber)
                .bind(&*claim.handler)
                .bind(&*claim.source)
                .bind(&*claim.id)
                .execute(&mut *conn)
                .await
                .map_err(sql_error)?;
            answers.push(if done.rows_affected() == 1 { Claimed::New } else { Claimed::Seen });
        }
        Ok(answers)
    }
}
