//! Messages over Kafka: a publisher that keeps order through outages, a consumer runtime with key lanes,
//! and topics that are provisioned, never guessed.
//!
//! **Problem.** A Kafka client gives bytes and offsets. Between that and "every event of an order handled,
//! in order, at least once, and a poison record holds up nobody" lie rebalances, out-of-order completion,
//! retries, dead letters and shut-down.
//!
//! **Promise.** [`KafkaPublisher`]: messages of one key reach the log in the order they were handed over,
//! without duplicates from retries on the wire, for as long as the producer lives; a fault of one topic holds up no
//! other. [`Consumer`]: each record is
//! handled at least once, records of one key one after the other; its offset is committed only when it and
//! all before it in the partition are handled or stand in the dead letters. [`provision`]: topics exist as
//! declared, or the difference is reported.
//!
//! **What breaks it.** Handling twice is possible after every crash and rebalance: the handler must be
//! idempotent ([`comms_core::transactional`] is). A broker that acknowledges and loses (`min.insync.replicas`
//! below 2 on one dead disk) loses here, too. Changing the number of partitions moves keys: their order across
//! the change is lost.
//!
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
//!         println!("{}", delivery.origin);
//!         Ok(Outcome::Done)
//!     }))
//!     .dead_letter(publisher)
//!     .build()?;
//! let shutdown = async {}; // a signal, in a service
//! consumer.run(shutdown).await
//! # }
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

mod client;
mod config;
pub mod consumer;
mod error;
mod publisher;
mod record;
mod topics;

pub use config::KafkaConfig;
pub use consumer::{Consumer, ConsumerBuilder, dlq_topic};
pub use publisher::KafkaPublisher;
pub use topics::{Difference, TooFewBrokers, TopicSpec, provision};
