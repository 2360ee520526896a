#![allow(clippy::disallowed_methods, reason = "the tests wait for real time or for tokio's paused time")]

use std::time::Duration;

use comms_core::{
    ErrorKind, UnitOfWork,
    clock::Clock,
    context::{Context, Deadline},
};

use super::*;
use crate::services;

pub(crate) const SCHEMA: &str = "order_service";

pub(crate) fn migrations() -> &'static sqlx::migrate::Migrator {
    let databases = services::ALL.iter().filter_map(|service| service.database.as_ref());
    databases.filter(|database| database.schema == SCHEMA).map(|database| database.migrations).next().unwrap()
}

/// The answer must reach the caller before the deadline: later, the caller cannot exclude that the call was executed.
#[tokio::test]
async fn a_transaction_that_cannot_begin_is_refused_before_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::sqlite(dir.path(), SCHEMA, migrations(), &Clock::system()).await.unwrap();
    let _only_writer = db.begin().await.unwrap();
    let clock = Clock::system();
    let deadline = Deadline::after(Duration::from_secs(2), &clock);
    let refused = Context::current().with_deadline(deadline).scope(db.begin()).await;
    assert_eq!(refused.err().unwrap().kind, ErrorKind::NotExecuted);
    assert!(!deadline.has_passed(&clock));
}

/// A transaction that reads does not wait for the writer of the file, sees the last commit, and cannot write.
#[tokio::test]
async fn a_reading_transaction_does_not_wait_for_a_writer() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::sqlite(dir.path(), SCHEMA, migrations(), &Clock::system()).await.unwrap();
    let mut writer = db.begin().await.unwrap();
    writer.execute("CREATE TABLE {s}.seen (id BIGINT NOT NULL)", &[]).await.unwrap();
    db.commit(writer).await.unwrap();
    let _writer = db.begin().await.unwrap();
    let mut reader = db.begin_read().await.unwrap();
    assert_eq!(reader.fetch("SELECT id FROM {s}.seen", &[]).await.unwrap().len(), 0);
    let refused = reader.execute("INSERT INTO {s}.seen (id) VALUES (1)", &[]).await.unwrap_err();
    assert!(refused.chain().to_string().contains("readonly"), "{}", refused.chain());
}

mod postgres {
    use std::sync::Arc;

    use comms_core::{Error, health::Health};
    use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

    use super::{super::testing::server, *};

    const LIMIT: Duration = Duration::from_secs(60);

    async fn run(url: &str, statement: String) {
        let mut connection = PgConnection::connect(url).await.unwrap();
        connection.execute(sqlx::raw_sql(AssertSqlSafe(statement))).await.unwrap();
    }

    /// The name and the URL of a database that does not exist.
    fn missing() -> (String, String) {
        let name = format!("t_{}", Clock::system().uuid_v7().simple());
        let url = format!("{}/{name}", server().rsplit_once('/').unwrap().0);
        (name, url)
    }

    async fn created() -> String {
        let (name, url) = missing();
        run(&server(), format!("CREATE DATABASE {name}")).await;
        url
    }

    struct Opened {
        db: Db,
        health: Health,
        task: tokio::task::JoinHandle<Result<(), Error>>,
    }

    fn open(url: &str) -> Opened {
        let db = Db::postgres(url, SCHEMA, 2, migrations(), &Clock::system()).unwrap();
        let health = Health::new();
        let (opening, component) = (db.clone(), health.component("database"));
        Opened { db, health, task: tokio::spawn(async move { opening.open(component).await }) }
    }

    impl Opened {
        async fn reason(&self, part: &str) {
            let shown = async {
                while !self.health.readiness().reason("database").is_some_and(|reason| reason.contains(part))
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let shown = tokio::time::timeout(LIMIT, shown).await;
            assert!(shown.is_ok(), "no {part:?} in {:?}", self.health.readiness());
        }

        async fn ready(&self) {
            tokio::time::timeout(LIMIT, self.db.opened()).await.unwrap();
            while !self.health.is_ready() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            self.db.fetch("SELECT order_id FROM {s}.orders", &[]).await.unwrap();
        }

        /// Returns the error that ends the start.
        async fn startup_error(self) -> String {
            let error = tokio::time::timeout(LIMIT, self.task).await.unwrap().unwrap().unwrap_err();
            assert_eq!(error.kind, ErrorKind::Fatal);
            error.chain().to_string()
        }
    }

    #[tokio::test]
    #[ignore = "needs PostgreSQL; run scripts/test"]
    async fn calls_fail_at_once_while_the_database_does_not_exist() {
        let (name, url) = missing();
        let opened = open(&url);
        opened.reason("does not exist").await;
        for error in [
            opened.db.begin().await.err().unwrap(),
            opened.db.fetch("SELECT 1", &[]).await.err().unwrap(),
            opened.db.parked("kafka").await.err().unwrap(),
        ] {
            assert_eq!(error.kind, ErrorKind::NotExecuted);
            assert!(error.chain().to_string().contains("not open yet"), "{}", error.chain());
        }
        run(&server(), format!("CREATE DATABASE {name}")).await;
        opened.ready().await;
        drop(opened.db.begin().await.unwrap());
        assert!(!opened.task.is_finished(), "the task watches the server");
    }

    #[tokio::test]
    #[ignore = "needs PostgreSQL; run scripts/test"]
    async fn processes_that_migrate_a_new_database_concurrently_all_succeed() {
        let url: Arc<str> = created().await.into();
        let all: Vec<_> = (0..8).map(|_| open(&url)).collect();
        for opened in all {
            opened.ready().await;
        }
    }

    /// A pooler in transaction mode passes the session, and any lock on it, to another client.
    #[tokio::test]
    #[ignore = "needs PostgreSQL; run scripts/test"]
    async fn migrations_leave_no_lock_and_no_setting_on_the_session() {
        let mut session = PgConnection::connect(&created().await).await.unwrap();
        for _ in 0..2 {
            migrate::apply(&mut session, SCHEMA, migrations()).await.unwrap();
            let left = "SELECT (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'),
                current_setting('search_path')";
            let left: (i64, String) = sqlx::query_as(left).fetch_one(&mut session).await.unwrap();
            assert_eq!(left, (0, "\"$user\", public".to_owned()));
        }
        let applied: i64 = sqlx::query_scalar("SELECT count(*) FROM order_service._sqlx_migrations")
            .fetch_one(&mut session)
            .await
            .unwrap();
        assert_eq!(applied, migrations().iter().count() as i64);
    }

    /// A connection that the server has closed makes the database unready until a new connection is established.
    #[tokio::test]
    #[ignore = "needs PostgreSQL; run scripts/test"]
    async fn a_read_only_server_is_unready_until_it_accepts_writes() {
        let url = created().await;
        let name = url.rsplit_once('/').unwrap().1;
        let opened = open(&url);
        opened.ready().await;
        let read_only =
            |value: &str| format!("ALTER DATABASE {name} SET default_transaction_read_only = {value}");
        let cut = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
        run(&server(), read_only("on")).await;
        run(&server(), cut.clone()).await;
        opened.reason("refuses writes").await;
        run(&server(), read_only("off")).await;
        opened.ready().await;
    }

    #[tokio::test]
    #[ignore = "needs PostgreSQL; run scripts/test"]
    async fn a_failure_that_waiting_does_not_repair_ends_the_start() {
        let url = created().await;
        let opened = open(&url);
        opened.ready().await;
        let newer = "INSERT INTO order_service.comms_outbox_migrations (version, checksum) VALUES (99, '')";
        run(&url, newer.to_owned()).await;
        assert!(open(&url).startup_error().await.contains("the outbox tables are at version 99"));
        run(&url, "DELETE FROM order_service.comms_outbox_migrations WHERE version = 99".to_owned()).await;
        run(&url, "UPDATE order_service._sqlx_migrations SET checksum = ''".to_owned()).await;
        let text = open(&url).startup_error().await;
        assert!(text.contains("another version of this program") && text.contains("modified"), "{text}");

        let (name, url) = missing();
        let create = format!(
            "CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        );
        run(&server(), create).await;
        assert!(open(&url).startup_error().await.contains("ENCODING 'UTF8'"));
    }

    #[tokio::test]
    #[ignore = "needs PostgreSQL; run scripts/test"]
    async fn an_existing_schema_needs_no_right_to_create_a_schema() {
        let url = created().await;
        open(&url).ready().await;
        let (name, role) =
            (url.rsplit_once('/').unwrap().1, format!("r_{}", Clock::system().uuid_v7().simple()));
        run(
            &url,
            format!(
                "
            CREATE ROLE {role} LOGIN; REVOKE CREATE ON DATABASE {name} FROM PUBLIC;
            GRANT ALL ON SCHEMA {SCHEMA} TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA {SCHEMA} TO {role};
            GRANT ALL ON ALL SEQUENCES IN SCHEMA {SCHEMA} TO {role}"
            ),
        )
        .await;
        open(&url.replace("postgres@", &format!("{role}@"))).ready().await;
    }
}
