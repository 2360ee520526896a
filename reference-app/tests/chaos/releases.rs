//! Processes of different releases side by side. Their relays have the same name and other lists of topics, and their orders
//! the other variant of the saga.

use std::{sync::Arc, time::Duration};

use comms_core::clock::Clock;
use comms_kafka::{KafkaConfig, KafkaPublisher};
use comms_outbox::{Relay, postgres};
use reference_app::platform::topic_prefix::PrefixedPublisher;
use sqlx::postgres::PgPoolOptions;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    account::{CHOREOGRAPHED, ORCHESTRATED},
    load::{self, Load},
    support::{Databases, Deployment, Marketplace, eventually, server},
};

/// The lease of the relays, as in `support/marketplace.rs`.
const LEASE: Duration = Duration::from_millis(1_500);
const OWNER: &str = "another release";

/// The topics that the relays of each release publish. The relays of the system name none, and publish all topics.
const RELEASES: [&[&str]; 4] = [
    &["order.status.changed", "payment.status.changed", "order.commands"],
    &["order.status.changed", "refund.requested", "ad.reservation.changed"],
    &["refund.requested"],
    &["refund.requested", "payment.status.changed", "delivery.status.changed", "order.commands"],
];

/// The services whose events and commands the orders need.
const PUBLISHERS: [&str; 3] = ["order_service", "payment_service", "ad_service"];

/// The relays of another release, in this process.
struct Release {
    stop: watch::Sender<bool>,
    relays: JoinSet<()>,
}

impl Release {
    async fn start(marketplace: &Marketplace, destinations: &'static [&'static str]) -> Self {
        let Databases::Postgres(url) = &marketplace.databases else {
            panic!("a database that processes share")
        };
        let pool = PgPoolOptions::new().max_connections(4).connect(url).await.unwrap();
        let kafka = KafkaConfig::new(server("COMMS_TEST_KAFKA_BROKERS"));
        let inner = Arc::new(KafkaPublisher::new(&kafka, Clock::system()).unwrap());
        let (stop, stopped) = watch::channel(false);
        let mut relays = JoinSet::new();
        for schema in PUBLISHERS {
            let tables = postgres::Tables::in_schema(schema).unwrap();
            let publisher = PrefixedPublisher { prefix: marketplace.prefix.clone(), inner: inner.clone() };
            let relay = Relay::builder(postgres::RelayStore::new(pool.clone(), tables), Arc::new(publisher))
                .name("kafka")
                .topics(destinations.iter().copied())
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

    /// Stops the relays, which release their leases.
    async fn stop(self) {
        self.stop.send_replace(true);
        self.relays.join_all().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
async fn chaos_topics_change_while_it_runs() {
    let mut marketplace = load::marketplace(Deployment::Full, &[]).await;
    let load = Load::start(&marketplace, 250, Duration::from_millis(60)).await;
    let mut changes = 0;
    while !load.is_finished() || changes < RELEASES.len() {
        let release = Release::start(&marketplace, RELEASES[changes % RELEASES.len()]).await;
        marketplace.processes[0].kill();
        // The other release takes the leases after their expiry, and publishes the events of the next orders.
        tokio::time::sleep(LEASE + Duration::from_millis(700)).await;
        // Orders of the variant before end in it.
        let choreographed = if changes % 2 == 0 { "true" } else { "false" };
        marketplace.processes[0].set("COMMS_ORDER__CHOREOGRAPHED", choreographed);
        marketplace.processes[0].spawn();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let leases = "SELECT COUNT(*) FROM {s}.comms_outbox_cursor WHERE owner = 'another release'";
        let taken = marketplace.databases.number("order_service", leases).await.unwrap();
        assert_eq!(taken, 1, "the relay of the other release has the lease");
        release.stop().await;
        // The system takes the leases back, with the branches of topics that the other release did not publish.
        tokio::time::sleep(Duration::from_secs(1)).await;
        changes += 1;
    }
    marketplace.ready().await;
    for service in PUBLISHERS {
        let branches = "SELECT COUNT(*) FROM {s}.comms_outbox_branch WHERE relay = 'kafka'";
        eventually("every topic is at its relay's position", Duration::from_secs(60), async || {
            (marketplace.databases.number(service, branches).await.ok()? == 0).then_some(())
        })
        .await;
    }
    let both = [ORCHESTRATED, CHOREOGRAPHED];
    load.check(&marketplace, &both, "topics of the relay and the variant of the saga changed", changes).await;
}
