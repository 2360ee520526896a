//! The tables of one schema: names checked once, statements made once.

use std::sync::Arc;

use comms_core::Error;
use sqlx::{AssertSqlSafe, Postgres, SqlSafeStr, SqlStr, postgres::PgArguments, query::Query};

use super::{changes, inbox, lease, outbox, parked, read, replies, store};

/// The outbox tables of one service's schema. Cheap to clone; holds no connection: every call takes the
/// caller's, and what it writes is part of the caller's transaction.
///
/// ```
/// use comms_outbox::postgres::Tables;
/// assert!(Tables::in_schema("orders").is_ok());
/// assert!(Tables::in_schema("Orders; drop table x").is_err());
/// ```
#[derive(Debug, Clone)]
pub struct Tables {
    pub(super) schema: Arc<str>,
    pub(super) sql: Arc<Statements>,
    prepared: bool,
}

#[derive(Debug)]
pub(super) struct Statements {
    pub(super) enqueue: SqlStr,
    pub(super) claim: SqlStr,
    pub(super) admit: SqlStr,
    pub(super) reply: SqlStr,
    pub(super) answer: SqlStr,
    pub(super) parked: SqlStr,
    pub(super) release: SqlStr,
    pub(super) look: SqlStr,
    pub(super) scan: SqlStr,
    pub(super) page: SqlStr,
    pub(super) lease_check: SqlStr,
    pub(super) acquire: SqlStr,
    pub(super) guard: SqlStr,
    pub(super) branches: SqlStr,
    pub(super) save: SqlStr,
    pub(super) covers: SqlStr,
    pub(super) branch: SqlStr,
    pub(super) join: SqlStr,
    pub(super) park: SqlStr,
    pub(super) follow: SqlStr,
    pub(super) unpark: SqlStr,
    pub(super) repark: SqlStr,
    pub(super) due: SqlStr,
    pub(super) lanes: SqlStr,
    pub(super) released: SqlStr,
}

impl Tables {
    /// The tables in `schema`.
    ///
    /// # Errors
    /// `Invalid` for a name that is not `[a-z_][a-z0-9_]*` of at most 48 bytes: it stands in statements.
    pub fn in_schema(schema: &str) -> Result<Self, Error> {
        let first = schema.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        let rest = schema.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !first || !rest || schema.len() > 48 {
            return Err(Error::invalid(format!(
                "{schema:?} is no name for a schema here: 1 to 48 of a-z, 0-9 and _, not beginning with a digit"
            )));
        }
        let sql = |text| render(schema, text);
        let sql = Statements {
            enqueue: sql(outbox::ENQUEUE),
            claim: sql(inbox::CLAIM),
            admit: sql(replies::ADMIT),
            reply: sql(replies::REPLY),
            answer: sql(replies::ANSWER),
            parked: sql(parked::PARKED),
            release: sql(parked::RELEASE),
            look: sql(read::LOOK),
            scan: sql(read::SCAN),
            page: sql(read::PAGE),
            lease_check: sql(lease::CHECK),
            acquire: sql(lease::ACQUIRE),
            guard: sql(lease::GUARD),
            branches: sql(lease::BRANCHES),
            save: sql(store::SAVE),
            covers: sql(changes::COVERS),
            branch: sql(changes::BRANCH),
            join: sql(changes::JOIN),
            park: sql(changes::PARK),
            follow: sql(changes::FOLLOW),
            unpark: sql(changes::UNPARK),
            repark: sql(changes::REPARK),
            due: sql(store::DUE),
            lanes: sql(store::LANES),
            released: sql(store::RELEASED),
        };
        Ok(Self { schema: schema.into(), sql: Arc::new(sql), prepared: true })
    }

    /// Sends the statements of the writers (`enqueue`, `claim`, `admit`, `answer`) and of the relay's pages without names,
    /// so that they work behind a pooler in transaction mode that keeps no prepared statements (PgBouncer before 1.21). The price: the
    /// server parses and plans each of them anew. The application's own queries need `persistent(false)` as well.
    #[must_use]
    pub fn unprepared(self) -> Self {
        Self { prepared: false, ..self }
    }

    /// A query of a writer, or one that the relay sends for each page.
    pub(super) fn query(&self, sql: &SqlStr) -> Query<'static, Postgres, PgArguments> {
        sqlx::query(sql.clone()).persistent(self.prepared)
    }

    /// A rare statement of the relay or of an operator, without a name: a pooler in transaction mode gives each statement another
    /// session, where a name may stand for another statement.
    pub(super) fn relay_query(&self, sql: &SqlStr) -> Query<'static, Postgres, PgArguments> {
        sqlx::query(sql.clone()).persistent(false)
    }

    /// A statement of the relay outside a transaction, with its values in the text: one message, because a pooler may
    /// give each message another session. The statement casts each value.
    pub(super) fn inline(sql: &SqlStr, values: &[Option<&str>]) -> SqlStr {
        let mut text = sql.as_str().to_owned();
        for (at, value) in values.iter().enumerate().rev() {
            // An escape string is read alike with and without standard_conforming_strings.
            let escaped = |value: &str| format!("E'{}'", value.replace('\\', "\\\\").replace('\'', "''"));
            text = text.replace(&format!("${}", at + 1), &value.map_or_else(|| "NULL".to_owned(), escaped));
        }
        let text: Arc<str> = text.into();
        AssertSqlSafe(text).into_sql_str()
    }
}

/// `{s}` becomes the schema, which was checked: nothing else is replaced. Quoted, because `order` is a name
/// a service may have, and a reserved word.
pub(super) fn render(schema: &str, text: &str) -> SqlStr {
    let text: Arc<str> = text.replace("{s}", &format!("\"{schema}\"")).into();
    AssertSqlSafe(text).into_sql_str()
}
