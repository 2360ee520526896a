//! The databases of the tests, which a process opens by an address.

use std::{future::Future, path::Path, sync::Arc, time::Duration};

use comms_core::{
    Error,
    clock::Clock,
    event::EventSource,
    resilience::Backoff,
    saga::{Definition, Definitions},
};
use comms_outbox::{
    LocalConsumer, LocalConsumerBuilder, postgres,
    saga::{Coordinator, CoordinatorBuilder},
    sql_error, sqlite,
};
use sqlx::{
    AssertSqlSafe, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous},
};

use tempfile::TempDir;

use super::books::{Books, TABLES, effect};

/// A database with the tables of the outbox and of the services.
pub trait Database: Sized + Clone + Send + Sync + 'static {
    type Unit: Books;

    /// Creates a database, and returns its address.
    fn create() -> impl Future<Output = Self>;
    fn open(address: &str) -> impl Future<Output = Self>;
    fn address(&self) -> String;
    fn unit(&self) -> Self::Unit;
    fn consumer(&self, group: &str) -> LocalConsumerBuilder;
}

#[derive(Clone)]
pub struct Sqlite {
    pub pool: SqlitePool,
    unit: sqlite::SqliteUnit,
    file: String,
    /// Removed with the last clone of the database that was created in it.
    directory: Option<Arc<TempDir>>,
}

impl Sqlite {
    fn at(file: &str) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A killed process loses nothing that the operating system has.
            .synchronous(SqliteSynchronous::Off)
            .busy_timeout(Duration::from_secs(20));
        let pool = SqlitePoolOptions::new().max_connections(6).connect_lazy_with(options);
        let unit = sqlite::SqliteUnit::new(pool.clone(), sqlite::Tables::new());
        Self { pool, unit, file: file.to_owned(), directory: None }
    }

    /// Creates a database in `directory`.
    pub async fn create_in(directory: &Path) -> Self {
        let database = Self::at(directory.join("test.db").to_str().unwrap());
        sqlite::Tables::new().migrate(&database.pool).await.unwrap();
        for table in TABLES {
            sqlx::raw_sql(table).execute(&database.pool).await.unwrap();
        }
        database
    }
}

impl Database for Sqlite {
    type Unit = sqlite::SqliteUnit;

    async fn create() -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let database = Self::create_in(directory.path()).await;
        Self { directory: Some(directory), ..database }
    }

    async fn open(address: &str) -> Self {
        Self::at(address)
    }

    fn address(&self) -> String {
        self.file.clone()
    }

    fn unit(&self) -> Self::Unit {
        self.unit.clone()
    }

    fn consumer(&self, group: &str) -> LocalConsumerBuilder {
        let store = sqlite::RelayStore::new(self.pool.clone(), sqlite::Tables::new());
        LocalConsumer::builder(store, group).commit_signal(self.unit.commit_signal())
    }
}

impl Books for sqlite::SqliteUnit {
    async fn execute(&self, tx: &mut Self::Tx, text: &str, values: &[&str]) -> Result<u64, Error> {
        let mut query = sqlx::query(AssertSqlSafe(text.to_owned()));
        for value in values {
            query = query.bind(*value);
        }
        query.execute(&mut **tx).await.map(|done| done.rows_affected()).map_err(sql_error)
    }

    async fn column(&self, tx: &mut Self::Tx, text: &str, values: &[&str]) -> Result<Vec<String>, Error> {
        let mut query = sqlx::query_scalar(AssertSqlSafe(text.to_owned()));
        for value in values {
            query = query.bind(*value);
        }
        query.fetch_all(&mut **tx).await.map_err(sql_error)
    }
}

/// A schema that the connections find by their search path.
#[derive(Clone)]
pub struct Postgres {
    pool: PgPool,
    schema: String,
    tables: postgres::Tables,
    unit: postgres::PgUnit,
}

impl Postgres {
    async fn at(schema: &str) -> Self {
        let url = std::env::var("COMMS_TEST_POSTGRES_URL").expect(
            "COMMS_TEST_POSTGRES_URL is not set: run scripts/test, or eval \"$(scripts/services env)\"",
        );
        let options = url.parse::<PgConnectOptions>().unwrap().options([("search_path", schema)]);
        let pool = PgPoolOptions::new().max_connections(6).connect_with(options).await.unwrap();
        let tables = postgres::Tables::in_schema(schema).unwrap();
        let unit = postgres::PgUnit::new(pool.clone(), tables.clone());
        Self { pool, schema: schema.to_owned(), tables, unit }
    }
}

impl Database for Postgres {
    type Unit = postgres::PgUnit;

    async fn create() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let database = Self::at(&format!("saga_{}_{}", now.as_nanos(), std::process::id())).await;
        database.tables.migrate(&database.pool).await.unwrap();
        for table in TABLES {
            sqlx::raw_sql(table).execute(&database.pool).await.unwrap();
        }
        database
    }

    async fn open(address: &str) -> Self {
        Self::at(address).await
    }

    fn address(&self) -> String {
        self.schema.clone()
    }

    fn unit(&self) -> Self::Unit {
        self.unit.clone()
    }

    fn consumer(&self, group: &str) -> LocalConsumerBuilder {
        let store = postgres::RelayStore::new(self.pool.clone(), self.tables.clone());
        LocalConsumer::builder(store, group).commit_signal(self.unit.commit_signal())
    }
}

impl Books for postgres::PgUnit {
    async fn execute(&self, tx: &mut Self::Tx, text: &str, values: &[&str]) -> Result<u64, Error> {
        let mut query = sqlx::query(AssertSqlSafe(text.to_owned()));
        for value in values {
            query = query.bind(*value);
        }
        query.execute(&mut **tx).await.map(|done| done.rows_affected()).map_err(sql_error)
    }

    async fn column(&self, tx: &mut Self::Tx, text: &str, values: &[&str]) -> Result<Vec<String>, Error> {
        let mut query = sqlx::query_scalar(AssertSqlSafe(text.to_owned()));
        for value in values {
            query = query.bind(*value);
        }
        query.fetch_all(&mut **tx).await.map_err(sql_error)
    }
}

/// Returns the builder of a coordinator with short waits, which writes each change into the books.
pub fn coordinator<B: Books>(books: &B, definition: &Definition<()>) -> CoordinatorBuilder<B> {
    let events = EventSource::new("order-service", Clock::system());
    let definitions = Definitions::new().register(definition.clone()).unwrap();
    let wait = Duration::from_millis(2);
    let writer = books.clone();
    Coordinator::builder(books.clone(), events, definitions)
        .poll_interval(Duration::from_millis(50))
        .backoff(Backoff::new(wait, wait).unwrap())
        .on_transition(move |changes, tx| {
            let books = writer.clone();
            Box::pin(async move {
                for change in changes {
                    let what = format!("change {}", change.revision);
                    effect(&books, tx, &change.instance.id, &what).await?;
                }
                Ok(())
            })
        })
}
