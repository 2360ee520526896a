//! A client that stays connected, resumes after a lost connection, and yields each event once and in order.
//!
//! # Example
//! ```no_run
//! use comms_ws::{Filter, client::{Client, Item, Subscription}};
//!
//! #[derive(serde::Deserialize)]
//! struct OrderStatus { order_id: String, status: String }
//!
//! # async fn access_token() -> Result<String, comms_core::Error> { Ok(String::new()) }
//! # async fn read_orders() -> Result<(), comms_core::Error> { Ok(()) }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), comms_core::Error> {
//! let (client, mut events) = Client::builder("ws://127.0.0.1:8080/v1/events")
//!     .token(access_token)
//!     .topic(Subscription::new("orders").filter(Filter::default().event("order.status.changed.v1")))
//!     .connect()?;
//! while let Some(item) = events.next().await {
//!     match item? {
//!         Item::Event(event) => {
//!             let order: OrderStatus = event.data()?;
//!             println!("{} is {}", order.order_id, order.status);
//!             client.unsubscribe("orders").await?;
//!         }
//!         // The state may have changed while events were lost, and before the subscription began.
//!         Item::Missed { .. } | Item::Subscribed { .. } => read_orders().await?,
//!         Item::Disconnected { retry_in, reason } => eprintln!("next attempt in {retry_in:?}: {reason}"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//! - The client reconnects until it is closed, with backoff and full jitter. It ends with an error only where a new
//!   connection would fail in the same way ([`Events::next`] lists the cases).
//! - The events of a topic are yielded in the order of their offsets, each at most once. When the server cannot
//!   resume a topic, [`Item::Missed`] is yielded before the events that follow.
//! - An offset that does not follow the one before yields `Missed` with [`MissedReason::Gap`], and the client stays
//!   connected: the server has already tried to repair the gap from its history, so a reconnect would find the same.
//!   Topics with a filter are exempt, because their offsets have gaps by design.
//! - Before a server shuts down, the client opens a connection to another one at the time that the server requests, and
//!   only then closes the old connection.
//! - The token is refreshed on the open connection before it expires. A token that the server refuses is replaced by a
//!   new one.
//! - A topic with a window ([`Subscription::window`]) is acknowledged by the client itself. An item is handled when the
//!   application asks for the next one.
//! - The queue is bounded in items and bytes. A connection is given up if no frame arrives within a ping interval
//!   after a ping, which the client sends after an interval without a frame.
//!
//! # What breaks it
//! - Topics without history have no offsets: events that are published while no connection is open are lost
//!   ([`MissedReason::NoHistory`]), and an event may be yielded twice when the server drains. [`Event::id`] detects it.
//! - A token source that never resolves delays each attempt until [`Builder::connect_timeout`].

mod builder;
mod connect;
mod cursor;
mod events;
mod failure;
mod frame;
mod handled;
mod io;
mod item;
mod next;
mod pace;
mod queue;
mod run;
mod session;
mod state;
mod subscription;
#[cfg(feature = "client-tls")]
mod tls;

pub use builder::Builder;
pub use events::Events;
pub use item::{Event, Item, MissedReason};
pub use subscription::Subscription;

use comms_core::Error;
use run::Command;
use tokio::sync::mpsc;

/// The control of a running client. Clones control the same client. [`Events`] yields its items.
#[derive(Debug, Clone)]
pub struct Client {
    commands: mpsc::Sender<Command>,
}

impl Client {
    /// Returns the settings of a client that connects to `url`, such as `wss://shop.example/v1/events`. With `ws`, the
    /// token is sent in plain text.
    pub fn builder(url: impl Into<String>) -> Builder {
        Builder::new(url.into())
    }

    /// Subscribes to a topic, or replaces its filter and its window. [`Item::Subscribed`], [`Item::Recovered`] or [`Item::Refused`]
    /// follows. The client subscribes again when it reconnects.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if the topic is empty, and
    /// [`ErrorKind::NotExecuted`](comms_core::ErrorKind::NotExecuted) if the client has ended.
    pub async fn subscribe(&self, topic: impl Into<Subscription>) -> Result<(), Error> {
        let subscription = topic.into();
        subscription.validate()?;
        self.send(Command::Subscribe(subscription)).await
    }

    /// Ends the subscription of a topic. Items that are queued are still yielded.
    ///
    /// # Errors
    /// Returns [`ErrorKind::NotExecuted`](comms_core::ErrorKind::NotExecuted) if the client has ended.
    pub async fn unsubscribe(&self, topic: impl Into<String>) -> Result<(), Error> {
        self.send(Command::Unsubscribe(topic.into())).await
    }

    /// Closes the connection and ends the client. Waits at most 5 s for the confirmation of the server. Queued items
    /// can still be read.
    pub async fn close(&self) {
        // A client that has ended is closed.
        let _ = self.send(Command::Close).await;
        self.commands.closed().await;
    }

    async fn send(&self, command: Command) -> Result<(), Error> {
        self.commands.send(command).await.map_err(|_| Error::not_executed("the client has ended"))
    }
}
