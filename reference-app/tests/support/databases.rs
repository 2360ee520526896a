//! Reads the databases of all services, to check that nothing was lost and nothing was done twice.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

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
    /// Orders that their buyers' lists show as paid.
    pub listed_as_paid: usize,
    pub payments: usize,
    pub charges: usize,
    pub notifications: usize,
    /// Orders whose events in the outbox do not have the sequences 1, 2 in this order.
    pub broken_sequences: usize,
    /// Orders whose notifications do not have the sequences 1, 2 in this order.
    pub broken_notifications: usize,
    /// Orders with more than one charge.
    pub broken_charges: usize,
    /// Ads whose available and held pieces are not the pieces that the seller has offered.
    pub broken_stocks: usize,
    /// Messages that a relay has parked, and events at which a projection is parked.
    pub parked: usize,
}

impl Databases {
    pub fn sqlite(dir: PathBuf) -> Self {
        Self::Sqlite(dir)
    }

    pub fn postgres(url: String) -> Self {
        Self::Postgres(url)
    }

    /// Returns the first column of a query on one service's database. `{s}` in the query becomes the schema.
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
        let ad = "ad_service";
        let wrongly_notified =
            "SELECT COUNT(*) FROM (SELECT order_id, COUNT(*) AS n, MIN(sequence) AS a, MAX(sequence) AS b
             FROM {s}.notifications GROUP BY order_id) t WHERE NOT (n = 2 AND a = 1 AND b = 2)";
        let wrongly_charged =
            "SELECT COUNT(*) FROM (SELECT order_id, COUNT(*) AS n FROM {s}.charges GROUP BY order_id) t
             WHERE n <> 1";
        let wrongly_stocked = "SELECT COUNT(*) FROM {s}.ads a WHERE a.stock <> a.available + (
             SELECT COALESCE(SUM(r.quantity), 0) FROM {s}.reservations r
             WHERE r.ad_id = a.ad_id AND r.status IN ('RESERVED', 'CONFIRMED'))";
        let mut parked = 0;
        for service in [order, payment, notification, ad] {
            parked += self.number(service, "SELECT COUNT(*) FROM {s}.comms_outbox_parked").await?;
            parked += self.number(service, "SELECT COUNT(*) FROM {s}.comms_projection_parked").await?;
        }
        let events = "SELECT COUNT(*) FROM {s}.comms_event WHERE topic = 'order' AND type =";
        Ok(Counts {
            orders: self.number(order, &format!("{events} 'order.placed.v1'")).await?,
            paid: self.number(order, &format!("{events} 'order.paid.v1'")).await?,
            listed_as_paid: self
                .number(order, "SELECT COUNT(*) FROM {s}.orders WHERE status = 'PAID' AND sequence = 2")
                .await?,
            payments: self.number(payment, "SELECT COUNT(*) FROM {s}.payments").await?,
            charges: self.number(payment, "SELECT COUNT(*) FROM {s}.charges").await?,
            notifications: self.number(notification, "SELECT COUNT(*) FROM {s}.notifications").await?,
            broken_sequences: self.broken_sequences(order).await?,
            broken_notifications: self.number(notification, wrongly_notified).await?
                + self.out_of_order(notification).await?,
            broken_charges: self.number(payment, wrongly_charged).await?,
            broken_stocks: self.number(ad, wrongly_stocked).await?,
            parked,
        })
    }

    /// Returns the number of orders whose notification 2 was made before notification 1. Notification ids sort by time.
    async fn out_of_order(&self, service: &str) -> sqlx::Result<usize> {
        let sql =
            "SELECT COUNT(*) FROM {s}.notifications a JOIN {s}.notifications b ON a.order_id = b.order_id
             WHERE a.sequence < b.sequence AND a.notification_id > b.notification_id";
        self.number(service, sql).await
    }

    /// Returns the number of orders whose events in the outbox do not have the sequences 1, 2 in this order.
    async fn broken_sequences(&self, service: &str) -> sqlx::Result<usize> {
        let sql = "SELECT key, payload FROM {s}.comms_outbox ORDER BY id";
        let mut sequences: HashMap<Vec<u8>, Vec<u64>> = HashMap::new();
        for (key, payload) in self.outbox(service, sql).await? {
            let event: serde_json::Value = serde_json::from_slice(&payload).unwrap();
            sequences.entry(key).or_default().push(event["sequence"].as_u64().unwrap());
        }
        Ok(sequences.values().filter(|sequences| **sequences != [1, 2]).count())
    }

    /// Returns the keys and payloads that a query on the outbox finds.
    async fn outbox(&self, service: &str, sql: &str) -> sqlx::Result<Vec<(Vec<u8>, Vec<u8>)>> {
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
