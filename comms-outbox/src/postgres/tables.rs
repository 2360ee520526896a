//! The outbox tables of one schema.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use comms_core::Error;
use sqlx::{AssertSqlSafe, Postgres, SqlSafeStr, SqlStr, postgres::PgArguments, query::Query};

use crate::relay::Log;

/// The outbox tables in the schema of one service.
///
/// Cheap to clone. It holds no connection: each call takes the caller's connection, and its writes are part of the
/// caller's transaction.
///
/// ```
/// use comms_outbox::postgres::Tables;
/// assert!(Tables::in_schema("orders").is_ok());
/// assert!(Tables::in_schema("Orders; drop table x").is_err());
/// ```
#[derive(Debug, Clone)]
pub struct Tables {
    pub(super) schema: Arc<str>,
    log: Log,
    statements: Arc<Statements>,
    prepared: bool,
}

/// Returns the columns of a page of `log` behind those of the outbox.
const fn more_columns(log: Log) -> &'static str {
    match log {
        Log::Outbox => "",
        Log::Events => ", version",
    }
}

/// Statements with the name of the schema in place of `{s}`, by their text. Each is rendered once.
///
/// A sorted map, because its lookup compares the first bytes of a few statements. A hash would read the whole text.
#[derive(Debug, Default)]
struct Statements(RwLock<BTreeMap<&'static str, SqlStr>>);

impl Tables {
    /// Returns the tables in `schema`.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if `schema` is not `[a-z_][a-z0-9_]*` of at most
    /// 48 bytes. The name becomes part of statements.
    pub fn in_schema(schema: &str) -> Result<Self, Error> {
        let first = schema.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        let rest = schema.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !first || !rest || schema.len() > 48 {
            return Err(Error::invalid(format!(
                "{schema:?} is not a valid schema name: use 1 to 48 of a-z, 0-9 and _, and no digit at the beginning"
            )));
        }
        Ok(Self { schema: schema.into(), log: Log::Outbox, statements: Arc::default(), prepared: true })
    }

    /// Returns the tables with a setting for a pooler in transaction mode that keeps no prepared statements (PgBouncer
    /// before 1.21).
    ///
    /// The statements of writers (`enqueue`, `claim`, `admit`, `complete`) and of the relay's pages are then sent
    /// without names, so that the server parses and plans each of them anew. The application's own queries need
    /// `persistent(false)` as well.
    #[must_use]
    pub fn unprepared(self) -> Self {
        Self { prepared: false, ..self }
    }

    /// Makes a query of a writer, or of the relay for each page. It is prepared under a name, unless
    /// [`unprepared`](Self::unprepared) was called.
    pub(super) fn query(&self, text: &'static str) -> Query<'static, Postgres, PgArguments> {
        sqlx::query(self.sql(text)).persistent(self.prepared)
    }

    /// Makes a query that is sent without a name, for rare statements of the relay and of an operator. A pooler in
    /// transaction mode may execute it in a session where the name stands for another statement.
    pub(super) fn unnamed_query(&self, text: &'static str) -> Query<'static, Postgres, PgArguments> {
        sqlx::query(self.sql(text)).persistent(false)
    }

    /// Makes a statement with `values` in its text, for a statement of the relay outside a transaction. It is sent as
    /// one message, because a pooler may give each message another session. The statement casts each value.
    pub(super) fn inline_values(&self, text: &'static str, values: &[Option<&str>]) -> SqlStr {
        let mut text = self.sql(text).as_str().to_owned();
        for (at, value) in values.iter().enumerate().rev() {
            // An escape string has the same meaning with and without standard_conforming_strings.
            let escaped = |value: &str| format!("E'{}'", value.replace('\\', "\\\\").replace('\'', "''"));
            text = text.replace(&format!("${}", at + 1), &value.map_or_else(|| "NULL".to_owned(), escaped));
        }
        let text: Arc<str> = text.into();
        AssertSqlSafe(text).into_sql_str()
    }

    /// Returns these tables for a reader of `log`.
    pub(super) fn reading(&self, log: Log) -> Self {
        Self { log, statements: Arc::default(), ..self.clone() }
    }

    pub(super) fn log(&self) -> Log {
        self.log
    }

    /// Returns `text` with the name of the schema in place of `{s}`, the table of the log in place of `{log}`, and its
    /// further columns in place of `{more}`.
    ///
    /// The name of the schema is checked. It is quoted, because a service may be named after a reserved word (`order`).
    pub(super) fn sql(&self, text: &'static str) -> SqlStr {
        let Statements(rendered) = &*self.statements;
        if let Some(sql) = rendered.read().unwrap_or_else(PoisonError::into_inner).get(text) {
            return sql.clone();
        }
        let sql = text.replace("{s}", &format!("\"{}\"", self.schema));
        let sql = sql.replace("{log}", self.log.table()).replace("{more}", more_columns(self.log));
        let sql: Arc<str> = sql.into();
        let sql = AssertSqlSafe(sql).into_sql_str();
        rendered.write().unwrap_or_else(PoisonError::into_inner).insert(text, sql.clone());
        sql
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "SELECT {s}.f($1::text, $2::text)";

    #[test]
    fn a_statement_names_the_schema_of_its_tables() {
        let (one, order) = (Tables::in_schema("one").unwrap(), Tables::in_schema("order").unwrap());
        for _ in 0..2 {
            assert_eq!(one.sql(TEXT).as_str(), "SELECT \"one\".f($1::text, $2::text)");
            assert_eq!(
                order.clone().unprepared().sql(TEXT).as_str(),
                "SELECT \"order\".f($1::text, $2::text)"
            );
        }
        assert_eq!(one.sql("SELECT 1").as_str(), "SELECT 1");
        let log = "SELECT id{more} FROM {s}.{log}";
        assert_eq!(one.sql(log).as_str(), "SELECT id FROM \"one\".comms_outbox");
        let events = one.reading(Log::Events);
        assert!(events.sql(log).as_str().ends_with(", version FROM \"one\".comms_event"));
        let inline = order.inline_values(TEXT, &[Some(r"it's \"), None]);
        assert_eq!(inline.as_str(), r#"SELECT "order".f(E'it''s \\'::text, NULL::text)"#);
        assert_eq!(order.sql(TEXT).as_str(), "SELECT \"order\".f($1::text, $2::text)");
    }
}
