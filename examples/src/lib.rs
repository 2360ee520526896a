//! One runnable example per pattern, in `examples/`. `README.md` lists them in the order to read them.
//!
//! The library has what several examples share: a Kafka cluster, a SQLite database, the services of a shop,
//! a handler that prints, a client of sockets, the generated code of a gRPC service, and a limit on the time that an
//! example takes. Its
//! documentation tests compile the code blocks of the README, of the guides and of the crates' READMEs:
//! `cargo test -p examples --doc`.

pub mod shop;
pub mod sockets;

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use comms_core::{Delivery, Handler, clock::Clock, handler_fn, transport::BoxHandler};
use comms_kafka::{KafkaConfig, TopicSpec, provision};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    mocking::MockCluster,
    producer::DefaultProducerContext,
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions};
use tokio::sync::mpsc;

/// No step of an example takes longer.
const LIMIT: Duration = Duration::from_secs(20);

/// The variable with the brokers of a real cluster: `host:port`, comma-separated.
pub const BROKERS: &str = "KAFKA_BROKERS";

/// A Kafka cluster with the topics of an example.
pub struct Kafka {
    /// How to reach the cluster.
    pub config: KafkaConfig,
    /// Ends when it is dropped.
    mock: Option<MockCluster<'static, DefaultProducerContext>>,
}

impl Kafka {
    /// librdkafka's mock cluster, which runs in this process and keeps its topics in memory.
    ///
    /// # Errors
    /// Returns the client's error if the cluster does not start.
    pub fn mock(topics: &[TopicSpec]) -> anyhow::Result<Self> {
        let mock = MockCluster::new(1)?;
        for topic in topics {
            mock.create_topic(&topic.name, topic.partitions, 1)?;
        }
        let mut config = KafkaConfig::new(mock.bootstrap_servers());
        // The mock lets a group of the older protocol form only after 3 s.
        config.librdkafka.insert("group.protocol".into(), "consumer".into());
        Ok(Self { config, mock: Some(mock) })
    }

    /// The cluster that the variable [`BROKERS`] names, or the mock cluster if it is not set.
    ///
    /// # Errors
    /// Returns the error of the client, or of the cluster if the topics cannot be created.
    pub async fn from_env(topics: &[TopicSpec]) -> anyhow::Result<Self> {
        let Ok(brokers) = std::env::var(BROKERS) else { return Self::mock(topics) };
        let config = KafkaConfig::new(brokers);
        let differences =
            provision(&config, topics, LIMIT, &Clock::system()).await.context("create the topics")?;
        anyhow::ensure!(differences.is_empty(), "the topics differ: {differences:?}");
        Ok(Self { config, mock: None })
    }

    /// Deletes `topics` from a real cluster.
    ///
    /// # Errors
    /// Returns the client's error if the cluster cannot be reached.
    pub async fn delete(self, topics: &[TopicSpec]) -> anyhow::Result<()> {
        if self.mock.is_none() {
            let mut client = ClientConfig::new();
            let admin: AdminClient<_> = client.set("bootstrap.servers", &self.config.brokers).create()?;
            let names: Vec<_> = topics.iter().map(|topic| topic.name.as_str()).collect();
            admin.delete_topics(&names, &AdminOptions::new()).await?;
        }
        Ok(())
    }
}

/// Resolves when `done` does, or after 20 s, so that an example ends in any case. A service passes its signal to `run`
/// instead.
pub async fn until<T>(done: impl Future<Output = T>) {
    let _ = Clock::system().timeout(LIMIT, done).await;
}

/// Opens the SQLite database in `file`, and creates it if necessary.
///
/// # Errors
/// Returns the error of the database.
pub async fn open_sqlite(file: &Path) -> anyhow::Result<SqlitePool> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    // SQLite has one writer at a time. With one connection the writers queue in the pool.
    Ok(SqlitePoolOptions::new().max_connections(1).connect_with(options).await?)
}

/// Returns `handler` with a line on standard output for each delivery and its outcome, and a signal to `handled` after it.
pub fn printed(handler: impl Handler, handled: mpsc::Sender<()>) -> BoxHandler {
    let handler = BoxHandler::new(handler);
    BoxHandler::new(handler_fn(move |delivery: Delivery| {
        let (handler, handled) = (handler.clone(), handled.clone());
        async move {
            let origin = delivery.origin().to_string();
            let outcome = handler.handle(delivery).await;
            println!("  {origin}: {outcome:?}");
            // Fails if the example has got its signals.
            let _ = handled.try_send(());
            outcome
        }
    }))
}

/// The code that tonic generates from `proto/payments.proto`.
#[allow(missing_docs, clippy::all, clippy::missing_errors_doc)]
pub mod payments {
    tonic::include_proto!("shop.payments.v1");
}

/// The code that tonic generates from `proto/feed.proto`.
#[allow(missing_docs, clippy::all, clippy::missing_errors_doc)]
pub mod feed {
    tonic::include_proto!("shop.feed.v1");
}

/// Compiles the code blocks of the Markdown files as documentation tests, and runs those with a `main`.
#[cfg(doctest)]
mod pages {
    macro_rules! pages {
        ($($page:ident: $file:literal,)*) => { $(#[doc = include_str!($file)] mod $page {})* };
    }
    pages! {
        readme: "../../README.md",
        comms_core: "../../comms-core/README.md",
        comms_grpc: "../../comms-grpc/README.md",
        comms_kafka: "../../comms-kafka/README.md",
        comms_outbox: "../../comms-outbox/README.md",
        comms_ws: "../../comms-ws/README.md",
        consumer: "../../docs/guides/consumer.md",
        cqrs: "../../docs/guides/cqrs.md",
        event_sourcing: "../../docs/guides/event-sourcing.md",
        extending: "../../docs/guides/extending.md",
        grpc: "../../docs/guides/grpc.md",
        grpc_server: "../../docs/guides/grpc-server.md",
        mtls: "../../docs/guides/mtls.md",
        outbox: "../../docs/guides/outbox.md",
        resilience: "../../docs/guides/resilience.md",
        sagas: "../../docs/guides/sagas.md",
        sockets: "../../docs/guides/sockets.md",
        testing: "../../docs/guides/testing.md",
    }
}
