//! A publisher, a consumer runtime and topic provisioning for Apache Kafka.
//!
//! **Problem.** A Kafka client delivers bytes and offsets. A service needs more: every message of a key handled in
//! order and at least once, in spite of rebalances, retries, handlers that finish out of order, poison records, broker
//! outages and shutdown.
//!
//! **Promise.**
//! - [`KafkaPublisher`]: messages of one key reach the log in the order in which they were enqueued, and retries of the
//!   client make no duplicates, as long as the publisher lives. A fault of one topic does not delay other topics.
//! - [`Consumer`]: each record is handled at least once, and records of one key one after the other. An offset is
//!   committed only when its record and all records before it in the partition are handled or written as dead letters.
//! - [`provision`]: topics exist as declared, or the difference is returned.
//!
//! **What breaks it.**
//! - After a crash or a rebalance a record may be handled again. Handlers must be idempotent
//!   ([`comms_core::transactional`] makes them so).
//! - A broker that loses acknowledged records, for example with `min.insync.replicas` 1 and a failed disk, loses
//!   messages.
//! - A change of the number of partitions moves keys to other partitions, and the order of a key across the change is
//!   lost.
//!
//! # Examples
//! ```
//! use comms_core::{Delivery, Outcome, Publisher, clock::Clock, handler_fn};
//! use comms_kafka::{Consumer, KafkaConfig, KafkaPublisher};
//! use std::sync::Arc;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), comms_core::Error> {
//! let kafka = KafkaConfig::new("localhost:9092");
//! let publisher: Arc<dyn Publisher> = Arc::new(KafkaPublisher::new(&kafka, Clock::system())?);
//! let consumer = Consumer::builder(&kafka, "billing")
//!     .on("orders", handler_fn(|delivery: Delivery| async move {
//!         println!("{}", delivery.origin());
//!         Ok(Outcome::Done)
//!     }))
//!     .dead_letter(publisher)
//!     .build()?;
//! let shutdown = async {}; // in a service: a future that resolves on a signal
//! consumer.run(shutdown).await
//! # }
//! ```
//!
//! # Main types
//! - [`KafkaConfig`]: the connection settings, shared by all clients.
//! - [`KafkaPublisher`]: implements [`Publisher`](comms_core::Publisher) with an idempotent producer.
//! - [`Consumer`] and [`ConsumerBuilder`]: a member of a consumer group, with a handler per topic. [`ConsumerHandle`]
//!   pauses and resumes its topics.
//! - [`TopicSpec`] and [`provision`]: declared topics and their creation.
//! - `testing::KafkaTransport` (feature `testing`): consumers under test on Kafka.
//!
//! # Features
//! librdkafka is built with gcc and make alone: without TLS, with the SASL mechanism `PLAIN`, and with the codecs gzip,
//! lz4 and snappy. All features are off by default. A setting that needs a missing feature is refused with the name of
//! the feature when a publisher or a consumer is built.
//!
//! | feature | adds | the build needs |
//! |---|---|---|
//! | `ssl` | the security protocols `SSL` and `SASL_SSL` | the headers of OpenSSL (Debian: `libssl-dev`) |
//! | `sasl` | the SASL mechanisms `SCRAM-SHA-256`, `SCRAM-SHA-512` and `OAUTHBEARER`, and `ssl` | as `ssl` |
//! | `gssapi` | the SASL mechanism `GSSAPI` (Kerberos), and `sasl` | also the headers of Cyrus SASL (`libsasl2-dev`); a program needs its plug-in (`libsasl2-modules-gssapi-mit`) |
//! | `zstd` | the codec zstd | |
//! | `testing` | `testing::KafkaTransport` | |
//!
//! Without `zstd`, a partition with records of that codec is not read, and the consumer is unready with
//! [`ClientFault::Codec`].
//!
//! `OAUTHBEARER` works with the unsecured tokens of `enable.sasl.oauthbearer.unsecure.jwt`, which are for tests. For
//! tokens of an identity provider (`sasl.oauthbearer.method` = `oidc`) an application depends on `rdkafka` in the version
//! of this crate, 0.39, and enables its feature `curl`. `ssl-vendored` there compiles OpenSSL instead of using that of
//! the system.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod client;
mod config;
mod consumer;
mod error;
mod publisher;
mod record;
#[cfg(feature = "testing")]
pub mod testing;
mod topic_name;
mod topics;

pub use config::KafkaConfig;
pub use consumer::{ClientFault, Consumer, ConsumerBuilder, ConsumerHandle, Start, seek};
pub use publisher::KafkaPublisher;
pub use topic_name::dlq_topic;
pub use topics::{TooFewBrokers, TopicDifference, TopicSpec, provision};
