//! Reads the databases of all services, to check that nothing was lost and nothing was done twice.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use reference_app::services;
use sqlx::{
    AssertSqlSafe, Connection, FromRow, PgConnection, SqliteConnection,
    postgres::PgRow,
    sqlite::{SqliteConnectOptions, SqliteRow},
};

/// The databases of one marketplace.
#[derive(Clone)]
pub enum Databases {
    Sqlite(PathBuf),
    Postgres(String),
}

/// The numbers of rows in the databases of all services.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    pub orders: usize,
    pub paid: usize,
    /// Orders that their buyers' lists show as paid, or with a status that follows.
    pub listed_as_paid: usize,
    pub payments: usize,
    pub charges: usize,
    pub notifications: usize,
    /// Orders whose events in the outbox do not have the sequences 1, 2, 3, … in this order.
    pub broken_sequences: usize,
    /// Messages that a relay has parked, and events at which a projection is parked.
    pub parked: usize,
}

/// A row that both databases return.
pub trait AnyRow: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin {}

impl<T> AnyRow for T where T: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin {}

impl Databases {
    pub fn sqlite(dir: PathBuf) -> Self {
        Self::Sqlite(dir)
    }

    pub fn postgres(url: String) -> Self {
        Self::Postgres(url)
    }

    /// Returns the rows of a query on one service's database. `{s}` in the query becomes the schema.
    pub async fn rows<T: AnyRow>(&self, service: &str, sql: &str) -> sqlx::Result<Vec<T>> {
        match self {
            Self::Sqlite(dir) => {
                let mut connection = open(dir, service).await?;
                let sql = AssertSqlSafe(sql.replace("{s}", "main"));
                let rows = sqlx::query_as(sql).fetch_all(&mut connection).await?;
                connection.close().await?;
                Ok(rows)
            }
            Self::Postgres(url) => {
                let mut connection = PgConnection::connect(url).await?;
                let sql = AssertSqlSafe(sql.replace("{s}", service));
                let rows = sqlx::query_as(sql).fetch_all(&mut connection).await?;
                connection.close().await?;
                Ok(rows)
            }
        }
    }

    /// Returns the first column of a query on one service's database. `{s}` in the query becomes the schema.
    pub async fn numbers(&self, service: &str, sql: &str) -> sqlx::Result<Vec<i64>> {
        Ok(self.rows::<(i64,)>(service, sql).await?.into_iter().map(|(number,)| number).collect())
    }

    /// Runs a statement on one service's database. `{s}` in the statement becomes the schema.
    pub async fn execute(&self, service: &str, sql: &str) -> sqlx::Result<()> {
        match self {
            Self::Sqlite(dir) => {
                let options = SqliteConnectOptions::new().filename(dir.join(format!("{service}.db")));
                let mut connection = SqliteConnection::connect_with(&options).await?;
                sqlx::query(AssertSqlSafe(sql.replace("{s}", "main"))).execute(&mut connection).await?;
                connection.close().await
            }
            Self::Postgres(url) => {
                let mut connection = PgConnection::connect(url).await?;
                sqlx::query(AssertSqlSafe(sql.replace("{s}", service))).execute(&mut connection).await?;
                connection.close().await
            }
        }
    }

    /// Returns the first number of a query, or 0 if there is no row.
    pub async fn number(&self, service: &str, sql: &str) -> sqlx::Result<usize> {
        let rows = self.numbers(service, sql).await?;
        Ok(usize::try_from(rows.first().copied().unwrap_or_default()).unwrap())
    }

    pub async fn counts(&self) -> sqlx::Result<Counts> {
        let (order, payment, notification) = ("order_service", "payment_service", "notification_service");
        let events = "SELECT COUNT(*) FROM {s}.comms_event WHERE topic = 'order' AND type =";
        let listed = "SELECT COUNT(*) FROM {s}.orders WHERE status IN ('PAID', 'SHIPPED', 'DELIVERED')";
        Ok(Counts {
            orders: self.number(order, &format!("{events} 'order.placed.v1'")).await?,
            paid: self.number(order, &format!("{events} 'order.paid.v1'")).await?,
            listed_as_paid: self.number(order, listed).await?,
            payments: self.number(payment, "SELECT COUNT(*) FROM {s}.payments").await?,
            charges: self.number(payment, "SELECT COUNT(*) FROM {s}.charges").await?,
            notifications: self.number(notification, "SELECT COUNT(*) FROM {s}.notifications").await?,
            broken_sequences: self.broken_sequences(order).await?,
            parked: self.parked().await?,
        })
    }

    /// Returns the number of messages that a relay has parked or holds, and of events at which a projection is parked.
    pub async fn parked(&self) -> sqlx::Result<usize> {
        let mut parked = 0;
        for schema in services::ALL.iter().filter_map(|service| Some(service.database.as_ref()?.schema)) {
            parked += self.number(schema, "SELECT COUNT(*) FROM {s}.comms_outbox_parked").await?;
            parked += self.number(schema, "SELECT COUNT(*) FROM {s}.comms_projection_parked").await?;
        }
        Ok(parked)
    }

    /// Returns the number of orders whose events in the outbox do not have the sequences 1, 2, 3, … in this order.
    async fn broken_sequences(&self, service: &str) -> sqlx::Result<usize> {
        let sql =
            "SELECT key, payload FROM {s}.comms_outbox WHERE topic = 'order.status.changed' ORDER BY id";
        let mut sequences: HashMap<Vec<u8>, Vec<u64>> = HashMap::new();
        for (key, payload) in self.rows::<(Vec<u8>, Vec<u8>)>(service, sql).await? {
            let event: serde_json::Value = serde_json::from_slice(&payload).unwrap();
            sequences.entry(key).or_default().push(event["sequence"].as_u64().unwrap());
        }
        Ok(sequences.values().filter(|sequences| !(1..).zip(sequences.iter()).all(|(n, s)| n == *s)).count())
    }
}

async fn open(dir: &Path, service: &str) -> sqlx::Result<SqliteConnection> {
    let file = dir.join(format!("{service}.db"));
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    SqliteConnection::connect_with(&options.busy_timeout(Duration::from_secs(5))).await
}
