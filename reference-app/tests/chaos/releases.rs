//! Processes of different releases side by side: their relays have the same names, and name other destinations.

use std::{sync::Arc, time::Duration};

use comms_core::clock::Clock;
use comms_kafka::{KafkaConfig, KafkaPublisher};
use comms_outbox::{Relay, postgres};
use reference_app::platform::topic_prefix::PrefixedPublisher;
use sqlx::postgres::PgPoolOptions;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    load::Load,
    support::{Books, Marketplace, Shape, eventually, server},
};

/// The lease of the system's own relays is 1.5 s in these tests.
const LEASE: Duration = Duration::from_millis(1_500);
const OWNER: &str = "another release";

/// What the relays of each release name; the system's own name nothing, which stands for everything.
const RELEASES: [&[&str]; 4] = [
    &["order.status.changed", "payment.status.changed"],
    &["order.status.changed", "refund.requested"],
    &["refund.requested"],
    &["refund.requested", "payment.status.changed", "order.status.changed"],
];

/// The relays of another release, in this process.
struct Release {
    stop: watch::Sender<bool>,
    relays: JoinSet<()>,
}

impl Release {
    async fn start(marketplace: &Marketplace, destinations: &'static [&'static str]) -> Self {
        let Books::Postgres(url) = &marketplace.books else { panic!("a database that processes share") };
        let pool = PgPoolOptions::new().max_connections(4).connect(url).await.unwrap();
        let kafka = KafkaConfig::new(server("COMMS_TEST_KAFKA_BROKERS"));
        let inner = Arc::new(KafkaPublisher::new(&kafka, Clock::system()).unwrap());
        let (stop, stopped) = watch::channel(false);
        let mut relays = JoinSet::new();
        for schema in ["order_service", "payment_service"] {
            let tables = postgres::Tables::in_schema(schema).unwrap();
            let publisher = PrefixedPublisher { prefix: marketplace.prefix.clone(), inner: inner.clone() };
            let relay = Relay::builder(postgres::RelayStore::new(pool.clone(), tables), Arc::new(publisher))
                .name("kafka")
                .destinations(destinations.iter().copied())
                .owner(OWNER)
                .lease(LEASE)
                .build()
                .unwrap();
            let mut stopped = stopped.clone();
            relays.spawn(async move {
                let stop = async move { drop(stopped.wait_for(|stop| *stop).await) };
                relay.run(stop).await.unwrap();
            });
        }
        Self { stop, relays }
    }

    /// Ends the relays, which give their leases back.
    async fn stop(self) {
        self.stop.send_replace(true);
        self.relays.join_all().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
async fn chaos_destinations_change_while_it_runs() {
    let mut marketplace = Marketplace::start(Shape::Full).await;
    let load = Load::start(&marketplace, 250, Duration::from_millis(60));
    let mut changes = 0;
    while !load.is_finished() || changes < RELEASES.len() {
        let release = Release::start(&marketplace, RELEASES[changes % RELEASES.len()]).await;
        marketplace.processes[0].kill();
        // The other release takes the leases once they have run out; then orders come, under its leases.
        tokio::time::sleep(LEASE + Duration::from_millis(700)).await;
        marketplace.processes[0].spawn();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let owned = "SELECT COUNT(*) FROM {s}.comms_outbox_cursor WHERE owner = 'another release'";
        let taken = marketplace.books.number("order_service", owned).await.unwrap();
        assert_eq!(taken, 1, "the other release carries what is placed meanwhile");
        release.stop().await;
        // The system takes the leases, with the destinations that the other release set apart.
        tokio::time::sleep(Duration::from_secs(1)).await;
        changes += 1;
    }
    marketplace.ready().await;
    for service in ["order_service", "payment_service"] {
        let apart = "SELECT COUNT(*) FROM {s}.comms_outbox_branch WHERE relay = 'kafka'";
        eventually("every destination is at its relay's position", Duration::from_secs(60), async || {
            (marketplace.books.number(service, apart).await.ok()? == 0).then_some(())
        })
        .await;
    }
    load.judge(&marketplace, "destinations changed", changes).await;
}
