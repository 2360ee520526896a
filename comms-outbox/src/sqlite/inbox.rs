//! Records handled messages in the handler's transaction.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use comms_core::{Claim, Claimed, Error};
use sqlx::SqliteConnection;

use super::Tables;
use crate::sql_error;

const CLAIM: &str = "
INSERT INTO comms_inbox (subscriber, handler, source, id) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";

/// $4 is a JSON array of different ids. Claims all of them or none.
const CLAIM_ALL: &str = "
INSERT INTO comms_inbox (subscriber, handler, source, id) SELECT $1, $2, $3, value FROM json_each($4)";

/// The claimed ids of $4, a JSON array, as a JSON array. sqlx wakes the caller for each row, so the result is one row.
const SEEN: &str = "
SELECT json_group_array(id) FROM comms_inbox
WHERE subscriber = $1 AND handler = $2 AND source = $3 AND id IN (SELECT value FROM json_each($4))";

/// Claims that differ in their ids only: subscriber, handler and source.
type Group<'a> = (&'a str, &'a str, &'a str);

impl Tables {
    /// Claims all of `claims`, and returns one result for each, in order. Of equal claims in one call the first is
    /// `New`. No other transaction can have an open claim, because SQLite has one writer at a time.
    ///
    /// The claims of one subscriber, handler and source take one statement if all of them are new, whatever their number,
    /// and three otherwise.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Conflict`](comms_core::ErrorKind::Conflict) if `conn` is in no transaction and another writer
    /// makes one of the claims at the same time. Otherwise returns an error of the kind that [`sql_error`] lists if a statement fails.
    pub async fn claim(&self, conn: &mut SqliteConnection, claims: &[Claim]) -> Result<Vec<Claimed>, Error> {
        let mut groups = BTreeMap::<Group<'_>, Vec<usize>>::new();
        for (index, claim) in claims.iter().enumerate() {
            groups.entry((&claim.subscriber, &claim.handler, &claim.source)).or_default().push(index);
        }
        let mut answers = vec![Claimed::Seen; claims.len()];
        for (group, indexes) in groups {
            let ids: Vec<&str> = indexes.iter().map(|index| &*claims[*index].id).collect();
            for (index, claimed) in indexes.into_iter().zip(claim_group(conn, group, &ids).await?) {
                answers[index] = claimed;
            }
        }
        Ok(answers)
    }
}

async fn claim_group(
    conn: &mut SqliteConnection,
    group: Group<'_>,
    ids: &[&str],
) -> Result<Vec<Claimed>, Error> {
    // JSON functions of SQLite end a text at its first NUL.
    if ids.len() > 1 && !ids.iter().any(|id| id.contains('\0')) {
        return claim_many(conn, group, ids).await;
    }
    let mut answers = Vec::with_capacity(ids.len());
    for id in ids {
        answers.push(claim_one(conn, group, id).await?);
    }
    Ok(answers)
}

async fn claim_many(
    conn: &mut SqliteConnection,
    group: Group<'_>,
    ids: &[&str],
) -> Result<Vec<Claimed>, Error> {
    let mut new: BTreeSet<&str> = ids.iter().copied().collect();
    if !claim_all(conn, group, &new).await? {
        let seen = seen(conn, group, &new).await?;
        new.retain(|id| !seen.contains(*id));
        if !claim_all(conn, group, &new).await? {
            // Outside a transaction another writer may come in between.
            return Err(Error::conflict("another writer has made one of the claims at the same time"));
        }
    }
    Ok(ids.iter().map(|id| if new.remove(id) { Claimed::New } else { Claimed::Seen }).collect())
}

/// Claims all of `ids`. Returns `false`, and claims none of them, if one is claimed already: SQLite reverts a statement
/// that fails, and the transaction stays usable.
async fn claim_all(
    conn: &mut SqliteConnection,
    (subscriber, handler, source): Group<'_>,
    ids: &BTreeSet<&str>,
) -> Result<bool, Error> {
    let json = serde_json::to_string(ids).map_err(Error::internal)?;
    let query = sqlx::query(CLAIM_ALL).bind(subscriber).bind(handler).bind(source).bind(json);
    match query.execute(conn).await {
        Ok(_) => Ok(true),
        Err(error) if error.as_database_error().is_some_and(|error| error.is_unique_violation()) => Ok(false),
        Err(error) => Err(sql_error(error)),
    }
}

/// Returns those of `ids` that are claimed.
async fn seen(
    conn: &mut SqliteConnection,
    (subscriber, handler, source): Group<'_>,
    ids: &BTreeSet<&str>,
) -> Result<HashSet<String>, Error> {
    let json = serde_json::to_string(ids).map_err(Error::internal)?;
    let query = sqlx::query_scalar(SEEN).bind(subscriber).bind(handler).bind(source).bind(json);
    let seen: String = query.fetch_one(conn).await.map_err(sql_error)?;
    serde_json::from_str(&seen).map_err(Error::internal)
}

async fn claim_one(
    conn: &mut SqliteConnection,
    (subscriber, handler, source): Group<'_>,
    id: &str,
) -> Result<Claimed, Error> {
    let query = sqlx::query(CLAIM).bind(subscriber).bind(handler).bind(source).bind(id);
    let done = query.execute(conn).await.map_err(sql_error)?;
    Ok(if done.rows_affected() == 1 { Claimed::New } else { Claimed::Seen })
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqlitePoolOptions;

    use super::{
        Claimed::{New, Seen},
        *,
    };

    fn claim(source: &str, id: &str) -> Claim {
        Claim { subscriber: "s".into(), handler: "h".into(), source: source.into(), id: id.into() }
    }

    #[tokio::test]
    async fn each_claim_of_several_sources_has_its_own_result() {
        let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
        Tables::new().migrate(&pool).await.unwrap();
        let mut conn = pool.acquire().await.unwrap();
        let tables = Tables::new();
        let before = [claim("a", "1"), claim("b", "2")];
        assert_eq!(tables.claim(&mut conn, &before).await.unwrap(), [New, New]);
        let ids = [("b", "2"), ("a", "2"), ("b", "1"), ("a", "1"), ("a", "2"), ("a", "3"), ("c", "\"ü\\")];
        let claims = ids.map(|(source, id)| claim(source, id));
        let expected = [Seen, New, New, Seen, Seen, New, New];
        assert_eq!(tables.claim(&mut conn, &claims).await.unwrap(), expected);
        assert_eq!(tables.claim(&mut conn, &claims).await.unwrap(), [Seen; 7]);
        assert_eq!(tables.claim(&mut conn, &[]).await.unwrap(), []);
    }

    /// A broker delivers ids that the outbox would refuse.
    #[tokio::test]
    async fn ids_that_differ_after_a_nul_are_different() {
        let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
        Tables::new().migrate(&pool).await.unwrap();
        let mut conn = pool.acquire().await.unwrap();
        let claims = [claim("a", "1\0x"), claim("a", "1\0y"), claim("a", "1")];
        for expected in [New, Seen] {
            assert_eq!(Tables::new().claim(&mut conn, &claims).await.unwrap(), [expected; 3]);
        }
    }
}
