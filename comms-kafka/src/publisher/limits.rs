//! How large a batch each topic takes.
//!
//! The limit of a topic (`max.message.bytes`) is asked for once, before the first message goes to it. The thread lives for
//! as long as there are topics to ask for, and asks again while the cluster is away.

use rdkafka::{
    admin::{AdminClient, AdminOptions, ResourceSpecifier},
    client::DefaultClientContext,
    producer::Producer as _,
};
use std::{
    sync::{Arc, Weak},
    thread,
    time::Duration,
};

use super::{
    line::{Line, Producers},
    topic::{Route, Topic},
};
use crate::error::classify;
use comms_core::Error;

type Admin = AdminClient<DefaultClientContext>;

/// How long the cluster may take to name a topic.
const METADATA: Duration = Duration::from_secs(2);
/// How long a cluster that has named a topic may take to answer with the topic's settings.
const SETTINGS: Duration = Duration::from_millis(500);
/// The wait between two looks at a cluster that is away.
const PAUSE: Duration = Duration::from_millis(100);
const LIMIT: &str = "max.message.bytes";

/// Starts the look-up. Without a thread for it the topics get full batches.
pub(super) fn look_up(producers: &Arc<Producers>) {
    let (line, weak) = (producers.line.clone(), Arc::downgrade(producers));
    let body = move || {
        if let Err(error) = run(&line, &weak) {
            tracing::warn!(error = %error.chain(), "the limits of topics cannot be looked up");
            give_up(&line, &weak);
        }
    };
    if let Err(error) = thread::Builder::new().name("kafka-limits".to_owned()).spawn(body) {
        tracing::warn!(%error, "the limits of topics are not looked up");
    }
}

/// Blocks until no topic is unknown, or the publisher is gone.
fn run(line: &Line, producers: &Weak<Producers>) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(Error::internal)?;
    let mut admin: Option<Admin> = None;
    loop {
        let wanted = line.wanted();
        let Some(producers) = producers.upgrade().filter(|_| !wanted.is_empty()) else { return Ok(()) };
        let admin = match &mut admin {
            Some(admin) => admin,
            None => admin.insert(producers.settings.create().map_err(classify)?),
        };
        for topic in &wanted {
            if !is_known(&producers, topic) {
                // The cluster is away, and so it is for the other topics.
                thread::park_timeout(PAUSE);
                break;
            }
            let route = match runtime.block_on(limit(admin, &topic.name)) {
                Ok(Some(limit)) if limit < line.batch_bytes => {
                    tracing::info!(topic = %topic.name, limit, "the topic takes less than a full batch");
                    Route::Alone
                }
                Ok(_) => Route::Batched,
                Err(error) => {
                    tracing::warn!(topic = %topic.name, error = %error.chain(), "the topic's {LIMIT} is not known: full batches");
                    Route::Batched
                }
            };
            topic.set_route(&*producers, route);
        }
    }
}

/// Asks the cluster for the topic, which also brings a topic that was missing to the producers' knowledge.
fn is_known(producers: &Producers, topic: &Topic) -> bool {
    producers
        .all()
        .iter()
        .all(|producer| producer.client().fetch_metadata(Some(&topic.name), METADATA).is_ok())
}

/// `None` where there is no such topic.
async fn limit(admin: &Admin, topic: &str) -> Result<Option<usize>, Error> {
    let options = AdminOptions::new().request_timeout(Some(SETTINGS));
    let described = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await;
    let resource = described.map_err(classify)?.pop().transpose();
    let resource = resource.map_err(|code| classify(rdkafka::error::KafkaError::AdminOp(code)))?;
    let value = resource.as_ref().and_then(|resource| resource.get(LIMIT)?.value.as_deref());
    value.map(str::parse).transpose().map_err(|e| Error::internal(e).context(LIMIT))
}

fn give_up(line: &Line, producers: &Weak<Producers>) {
    while let Some(producers) = producers.upgrade() {
        let wanted = line.wanted();
        if wanted.is_empty() {
            return;
        }
        wanted.iter().for_each(|topic| topic.set_route(&*producers, Route::Batched));
    }
}
