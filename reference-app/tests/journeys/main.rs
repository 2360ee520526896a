//! Tests of the whole system: real processes, used over HTTP and WebSocket as by clients and operators.
//!
//! The suffix of a test's name is its deployment: `_embedded` runs on SQLite without servers, `_full` and
//! `_full_by_role` need PostgreSQL and Apache Kafka and are ignored by default.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

#[path = "../../../comms-ws/tests/chromium/browser.rs"]
mod browser;
#[path = "../support/mod.rs"]
mod support;

mod added;
mod admin;
mod ads;
mod analytics;
mod bad_input;
mod dev_token;
mod edge;
mod faults;
mod faulty_peer;
mod first_use;
mod history;
mod hostile;
mod metrics;
mod mutual_tls;
mod operator;
mod order;
mod order_saga;
mod orders_list;
mod page;
mod page_in_chromium;
mod payment_watch;
mod peer_outage;
mod poison;
mod redis;
mod server_outage;
mod shutdown;
mod sockets;
mod start;
mod tcp_proxy;
