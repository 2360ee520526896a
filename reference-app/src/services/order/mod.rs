//! order-service: takes orders, and runs the saga that gets them paid, reserved and delivered.
//!
//! - Owns: the orders, each a stream of events in the event store, the read model of lists, the runs of the saga, and the
//!   shipments of the stand-in for a courier (`migrations/`).
//! - Publishes: `order.status.changed`, one event for each change of an order's status; `order.commands`, the commands of
//!   the saga; `delivery.status.changed`.
//! - Consumes: `payment.status.changed`, `ad.reservation.changed` and `delivery.status.changed`, the replies of the saga,
//!   and its own commands (group `order-commands`).
//! - Calls: payment-service and ad-service over gRPC, under the policies `payment` and `stock`.
//!
//! In the order of an order's life: `api` receives the gateway's call with a `change`, `domain` decides which of the
//! `events` follow, and `store` appends them with the message for other services and keeps the list of orders. `runs` starts
//! the run of the order and makes the changes that follow from it, `saga` defines its steps, and `commands` calls the
//! participants, of which `shipping` is one. `history` shows the events to the buyer.

mod api;
mod change;
mod commands;
mod domain;
mod events;
mod history;
mod runs;
mod saga;
mod settings;
mod shipping;
mod store;

use std::{sync::Arc, time::Duration};

use comms_core::{
    Error,
    event::{Event, EventSource},
    event_sourcing::{Aggregate, Recorded},
    transport::BoxHandler,
};

use crate::{
    contracts::{
        DeliveryStatusChanged, MAX_REQUEST, OrderStatusChanged, PaymentStatusChanged, ReservationChanged,
        order::proto::orders_server::OrdersServer,
    },
    platform::{
        db::Tx,
        service::{Call, Database, Host, Parts, Protocol, Serves, Service, Subscription, Topic},
    },
};

/// The consumer groups of the replies to the saga.
const PAYMENTS: &str = "order-payments";
const RESERVATIONS: &str = "order-reservations";
const DELIVERIES: &str = "order-deliveries";
/// The consumer group that makes the calls of the saga's commands.
const COMMANDS: &str = "order-commands";
/// The services that order-service calls, and the names of the policies for the calls.
const PAYMENT: &str = "payment";
const AD: &str = "ad";
const STOCK: &str = "stock";

/// The pause between two searches for shipments that are due.
const DELIVERY_PAUSE: Duration = Duration::from_millis(500);
/// The pause between two searches for rows of lists that were replaced.
const RETIRED_PAUSE: Duration = Duration::from_secs(600);

/// The registration of order-service.
pub static SERVICE: Service = Service {
    name: "order",
    about: "Takes orders, and runs the saga that gets them paid and delivered.",
    source: "order-service",
    defaults: include_str!("defaults.toml"),
    check: settings::check,
    shown: settings::SHOWN,
    protocol: Some(Protocol::Grpc),
    database: Some(Database { schema: "order_service", migrations: &MIGRATIONS }),
    topics: &[
        Topic::of::<OrderStatusChanged>(),
        Topic { name: saga::messages::TOPIC, partitions: 6 },
        Topic::of::<DeliveryStatusChanged>(),
    ],
    subscriptions: &[
        Subscription { group: PAYMENTS, topic: PaymentStatusChanged::TYPE },
        Subscription { group: RESERVATIONS, topic: ReservationChanged::TYPE },
        Subscription { group: DELIVERIES, topic: DeliveryStatusChanged::TYPE },
        Subscription { group: COMMANDS, topic: saga::messages::TOPIC },
    ],
    calls: &[Call { service: PAYMENT, policy: PAYMENT }, Call { service: AD, policy: STOCK }],
    refers_to: &[],
    start,
};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("src/services/order/migrations");

fn start(host: &Host<'_>) -> Result<Parts, Error> {
    let settings: settings::Settings = host.section()?;
    let (db, clock) = (host.db()?, host.clock());
    let source = EventSource::new(SERVICE.source, clock.clone());
    let store = store::Store::new(db.clone(), source.clone());

    let projected = store.clone();
    let apply = move |events: Vec<Recorded>, mut tx: Tx| {
        let store = projected.clone();
        async move { store.project(&mut tx, &events).await }
    };
    let (list_loop, list) =
        host.projection(store::LIST, store::REVISION, &[domain::Order::CATEGORY], apply)?;

    let variants = runs::Variants::new(&settings.saga)?;
    let builder = variants.coordinator(db.clone(), store.clone(), source.clone())?;
    let (runs_loop, runs) = host.coordinator("orders", builder)?;

    let ended_runs = host.delete_ended_runs("ended order sagas", settings.retention.ended_runs)?;
    let retired = store::RetiredLists::new(db.clone(), store::REVISION, settings.retention.replaced_lists);
    let retired = host.sweep("replaced order lists", RETIRED_PAUSE, retired)?;

    let stand_in = shipping::LocalStandIn::new(db.clone(), source, settings.shipping);
    let deliver = host.sweep("shipping stand-in", DELIVERY_PAUSE, stand_in.clone())?;
    let participants = commands::Participants::new(host.peer(PAYMENT)?, host.peer(AD)?, Arc::new(stand_in));

    let replies = [PAYMENTS, RESERVATIONS, DELIVERIES].map(|group| (group, BoxHandler::new(runs.handler())));
    let commands = (COMMANDS, commands::execute(participants));
    let api = api::Api { db, store, list, variants, runs, choreographed: settings.choreographed, clock };
    let server = OrdersServer::new(api).max_decoding_message_size(MAX_REQUEST);
    Ok(Parts {
        serves: Serves::grpc(server),
        handlers: replies.into_iter().chain([commands]).collect(),
        loops: vec![list_loop, runs_loop, ended_runs, retired, deliver],
        ..Parts::default()
    })
}
