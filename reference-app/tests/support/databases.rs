//! Looks into every service's own database and counts: the only judge of "nothing lost, nothing twice".

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

#[derive(Clone)]
pub enum Databases {
    Sqlite(PathBuf),
    Postgres(String),
}

/// What the databases hold, over all services.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    pub orders: usize,
    pub paid: usize,
    pub payments: usize,
    pub charges: usize,
    pub notifications: usize,
    /// Orders whose own outbox does not say CREATED, then PAID, with sequences 1, 2.
    pub broken_sequences: usize,
    /// Orders whose buyer was not told exactly of 1, then 2.
    pub broken_notifications: usize,
    /// Orders charged other than once.
    pub broken_charges: usize,
    /// Messages parked by any relay.
    pub parked: usize,
}

impl Databases {
    pub fn sqlite(dir: PathBuf) -> Self {
        Self::Sqlite(dir)
    }

    pub fn postgres(url: String) -> Self {
        Self::Postgres(url)
    }

    /// The first column of a query over one service's database; `{s}` is its schema.
    pub async fn numbers(&self, service: &str, sql: &str) -> sqlx::Result<Vec<i64>> {
        match self {
            Self::Sqlite(dir) => {
                let mut connection = open(dir, service).await?;
                let sql = AssertSqlSafe(sql.replace("{s}", "main"));
                let rows = sqlx::query(sql).fetch_all(&mut connection).await?;
                connection.close().await?;
                rows.iter().map(|row| row.try_get(0)).collect()
            }
            Self::Postgres(url) => {
                let mut connection = PgConnection::connect(url).await?;
                let sql = AssertSqlSafe(sql.replace("{s}", service));
                let rows = sqlx::query(sql).fetch_all(&mut connection).await?;
                connection.close().await?;
                rows.iter().map(|row| row.try_get(0)).collect()
            }
        }
    }

    pub async fn number(&self, service: &str, sql: &str) -> sqlx::Result<usize> {
        let rows = self.numbers(service, sql).await?;
        Ok(usize::try_from(rows.first().copied().unwrap_or_default()).unwrap())
    }

    pub async fn counts(&self) -> sqlx::Result<Counts> {
        let (order, payment, notification) = ("order_service", "payment_service", "notification_service");
        // How many rows each order has, and whether the sequences are 1, 2 in the order they were written.
        let told =
            "SELECT COUNT(*) FROM (SELECT order_id, COUNT(*) AS n, MIN(sequence) AS a, MAX(sequence) AS b
             FROM {s}.notifications GROUP BY order_id) t WHERE NOT (n = 2 AND a = 1 AND b = 2)";
        let charged =
            "SELECT COUNT(*) FROM (SELECT order_id, COUNT(*) AS n FROM {s}.charges GROUP BY order_id) t
             WHERE n <> 1";
        let mut parked = 0;
        for service in [order, payment, notification] {
            parked += self.number(service, "SELECT COUNT(*) FROM {s}.comms_outbox_parked").await?;
        }
        Ok(Counts {
            orders: self.number(order, "SELECT COUNT(*) FROM {s}.orders").await?,
            paid: self
                .number(order, "SELECT COUNT(*) FROM {s}.orders WHERE status = 'PAID' AND sequence = 2")
                .await?,
            payments: self.number(payment, "SELECT COUNT(*) FROM {s}.payments").await?,
            charges: self.number(payment, "SELECT COUNT(*) FROM {s}.charges").await?,
            notifications: self.number(notification, "SELECT COUNT(*) FROM {s}.notifications").await?,
            broken_sequences: self.broken_sequences(order).await?,
            broken_notifications: self.number(notification, told).await?
                + self.out_of_order(notification).await?,
            broken_charges: self.number(payment, charged).await?,
            parked,
        })
    }

    /// Buyers who were told of 2 before 1: notification ids are time-ordered.
    async fn out_of_order(&self, service: &str) -> sqlx::Result<usize> {
        let sql =
            "SELECT COUNT(*) FROM {s}.notifications a JOIN {s}.notifications b ON a.order_id = b.order_id
             WHERE a.sequence < b.sequence AND a.notification_id > b.notification_id";
        self.number(service, sql).await
    }

    /// Orders whose outbox does not say exactly 1, then 2.
    async fn broken_sequences(&self, service: &str) -> sqlx::Result<usize> {
        let sql = "SELECT key, payload FROM {s}.comms_outbox ORDER BY id";
        let mut said: HashMap<Vec<u8>, Vec<u64>> = HashMap::new();
        for (key, payload) in self.said(service, sql).await? {
            let event: serde_json::Value = serde_json::from_slice(&payload).unwrap();
            said.entry(key).or_default().push(event["sequence"].as_u64().unwrap());
        }
        Ok(said.values().filter(|sequences| **sequences != [1, 2]).count())
    }

    async fn said(&self, service: &str, sql: &str) -> sqlx::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        match self {
            Self::Sqlite(dir) => {
                let mut connection = open(dir, service).await?;
                sqlx::query_as(AssertSqlSafe(sql.replace("{s}", "main"))).fetch_all(&mut connection).await
            }
            Self::Postgres(url) => {
                let mut connection = PgConnection::connect(url).await?;
                sqlx::query_as(AssertSqlSafe(sql.replace("{s}", service))).fetch_all(&mut connection).await
            }
        }
    }
}

async fn open(dir: &Path, service: &str) -> sqlx::Result<SqliteConnection> {
    let file = dir.join(format!("{service}.db"));
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    SqliteConnection::connect_with(&options.busy_timeout(Duration::from_secs(5))).await
}
