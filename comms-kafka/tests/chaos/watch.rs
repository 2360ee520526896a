//! Reads the committed offsets of the group while the members run, and appends each new one to the ledger.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};

use crate::ledger::{Kind, Ledger};

/// Committed offsets by partition.
pub type Committed = BTreeMap<i32, i64>;

pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Committed>,
}

impl Watch {
    /// Watches the partitions 0 to `partitions` - 1. Some of them may not exist yet.
    pub fn start(client: &ClientConfig, group: &str, topic: &str, partitions: i32, ledger: &Path) -> Self {
        let consumer: BaseConsumer = client.clone().set("group.id", group).create().unwrap();
        let (ledger, stop) = (Ledger::open(ledger), Arc::new(AtomicBool::new(false)));
        let (topic, over) = (topic.to_owned(), stop.clone());
        let thread = thread::spawn(move || {
            let mut known = Committed::new();
            loop {
                let last = over.load(Ordering::Relaxed);
                let Some(committed) = read(&consumer, &topic, partitions) else {
                    assert!(!last, "the committed offsets cannot be read");
                    continue;
                };
                for (partition, offset) in committed {
                    if known.insert(partition, offset) != Some(offset) {
                        let number = u32::try_from(offset).unwrap();
                        ledger.append(Kind::Committed, u16::try_from(partition).unwrap(), number);
                    }
                }
                if last {
                    return known;
                }
                thread::sleep(Duration::from_millis(100));
            }
        });
        Self { stop, thread }
    }

    /// Returns the last committed offsets, read after the call.
    pub fn finish(self) -> Committed {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn read(consumer: &BaseConsumer, topic: &str, partitions: i32) -> Option<Committed> {
    let mut list = TopicPartitionList::new();
    list.add_partition_range(topic, 0, partitions - 1);
    let list = consumer.committed_offsets(list, Duration::from_secs(3)).ok()?;
    let elements = list.elements();
    let offsets = elements.iter().filter_map(|element| match (element.offset(), element.error()) {
        (Offset::Offset(offset), Ok(())) => Some((element.partition(), offset)),
        _ => None,
    });
    Some(offsets.collect())
}
