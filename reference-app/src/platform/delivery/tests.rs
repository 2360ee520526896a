use std::time::Duration;

use comms_core::{
    Delivery as Message, Outcome, clock::Clock, handler_fn, health::Health, transport::BoxHandler,
};

use super::{Delivery, GroupHandler, Source, topics::topics};
use crate::{
    platform::{
        config::{self, Config},
        db::Db,
        holds::HoldRegistry,
        service::{Subscription, Topic},
        shutdown::Stages,
    },
    services,
};

fn config() -> Config {
    let kafka = serde_json::json!({"kafka": {"brokers": "127.0.0.1:1", "prefix": "shop."}});
    config::load(services::ALL, None, None, kafka).unwrap()
}

async fn db(dir: &tempfile::TempDir) -> Db {
    let database = services::ALL.iter().find_map(|service| service.database.as_ref()).unwrap();
    Db::sqlite(dir.path(), database.schema, database.migrations, &Clock::system()).await.unwrap()
}

const ORDERS: Topic = Topic { name: "order.status.changed", partitions: 6 };

fn handler() -> BoxHandler {
    BoxHandler::new(handler_fn(|_: Message| async { Ok(Outcome::Done) }))
}

#[tokio::test]
async fn a_process_creates_only_topics_that_it_owns_or_consumes() {
    let dir = tempfile::tempdir().unwrap();
    let db = db(&dir).await;
    let config = config();
    let (kafka, all) = (config.kafka.clone().unwrap(), config.topics());
    let names = |sources: &[Source], subscriptions: &[GroupHandler]| {
        topics(&kafka, &all, sources, subscriptions).into_iter().map(|topic| topic.name).collect::<Vec<_>>()
    };
    let source = Source { name: "order-service", db: db.clone(), topics: &[ORDERS] };
    let topic = "payment.status.changed";
    let subscription =
        GroupHandler { subscription: Subscription { group: "g", topic }, db: db.clone(), handler: handler() };
    assert_eq!(names(&[], &[]), [""; 0]);
    assert_eq!(names(std::slice::from_ref(&source), &[]), ["shop.order.status.changed"]);
    let consumed = ["shop.payment.status.changed.dlq", "shop.payment.status.changed"];
    assert_eq!(names(&[], std::slice::from_ref(&subscription)), consumed);
    assert_eq!(names(&[source], &[subscription]).len(), 3);
}

#[tokio::test]
async fn a_process_without_topics_and_subscriptions_does_not_use_kafka() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source { name: "order-service", db: db(&dir).await, topics: &[] };
    let (config, clock) = (config(), Clock::system());
    let (stages, health, holds) = (Stages::new(clock.clone()), Health::new(), HoldRegistry::default());
    let delivery =
        Delivery { config: &config, stages: &stages, health: &health, holds: &holds, clock: &clock };
    delivery.start(vec![source], Vec::new()).unwrap();
    assert!(health.readiness().parts.is_empty(), "{:?}", health.readiness());
}

/// If liveness failed here, an orchestrator would restart the process, and the wait would begin again.
#[tokio::test]
async fn loops_that_wait_for_their_topics_stay_live() {
    let dir = tempfile::tempdir().unwrap();
    let db = db(&dir).await;
    let source = Source { name: "order-service", db: db.clone(), topics: &[ORDERS] };
    let topic = "order.status.changed";
    let subscription =
        GroupHandler { subscription: Subscription { group: "g", topic }, db, handler: handler() };
    let (config, clock, time) = (config(), Clock::system(), Clock::manual(Duration::ZERO));
    let (stages, holds) = (Stages::new(clock.clone()), HoldRegistry::default());
    let health = Health::with_clock(time.clone());
    let delivery =
        Delivery { config: &config, stages: &stages, health: &health, holds: &holds, clock: &clock };
    delivery.start(vec![source], vec![subscription]).unwrap();
    time.advance(Duration::from_secs(24 * 3_600));
    assert_eq!(health.liveness().parts.len(), 2);
    assert!(health.is_live() && !health.is_ready(), "{:?}", health.liveness());
    stages.shut_down(Duration::from_secs(20), std::future::pending()).await.unwrap();
}
