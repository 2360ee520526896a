//! librdkafka's mock cluster, owned by a thread, because its handle cannot move to another one.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use comms_core::Error;
use rdkafka::{error::KafkaError, mocking::MockCluster, producer::DefaultProducerContext};
use tokio::sync::oneshot;

use crate::TopicSpec;

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// A running mock cluster. Dropping it ends the cluster.
pub(super) struct Mock {
    pub(super) brokers: String,
    orders: SyncSender<Order>,
}

/// Topics to create, and where the result goes.
struct Order {
    topics: Vec<TopicSpec>,
    result: oneshot::Sender<Result<(), KafkaError>>,
}

impl Mock {
    pub(super) fn start() -> Result<Self, Error> {
        let (started, start) = sync_channel(1);
        let (orders, received) = sync_channel(16);
        thread::Builder::new()
            .name("kafka-mock".into())
            .spawn(move || match Cluster::new(1) {
                Ok(cluster) => {
                    let _ = started.send(Ok(cluster.bootstrap_servers()));
                    serve(&cluster, &received);
                }
                Err(error) => drop(started.send(Err(error))),
            })
            .map_err(Error::internal)?;
        let brokers = start.recv().map_err(Error::internal)?.map_err(Error::internal)?;
        Ok(Self { brokers, orders })
    }

    /// Creates the topics that do not exist.
    pub(super) async fn create(&self, topics: Vec<TopicSpec>) -> Result<(), Error> {
        let (result, created) = oneshot::channel();
        self.orders
            .try_send(Order { topics, result })
            .map_err(|_| Error::internal("the mock cluster is busy"))?;
        created.await.map_err(Error::internal)?.map_err(Error::internal)
    }
}

/// Creates topics until the sender is dropped.
fn serve(cluster: &Cluster, orders: &Receiver<Order>) {
    let mut existing = Vec::new();
    for Order { topics, result } in orders {
        let missing: Vec<_> = topics.into_iter().filter(|topic| !existing.contains(&topic.name)).collect();
        let created =
            missing.iter().try_for_each(|topic| cluster.create_topic(&topic.name, topic.partitions, 1));
        existing.extend(missing.into_iter().map(|topic| topic.name));
        let _ = result.send(created);
    }
}
