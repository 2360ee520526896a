//! The publisher of the relays under test. It counts the deliveries of each message.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard},
};

use comms_core::{
    Error, Message, Publisher, async_trait,
    transport::{Acks, Receipt},
};

/// The deliveries of one message.
#[derive(Clone, Copy)]
pub struct Delivered {
    pub times: u64,
    /// The position of its first delivery among all first deliveries.
    pub place: u64,
}

#[derive(Default)]
struct Log {
    next: u64,
    messages: HashMap<String, Delivered>,
}

/// A publisher that acknowledges every message at once. Clones share the counts.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Log>>);

impl Ledger {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap()
    }

    pub fn find(&self, id: &str) -> Option<Delivered> {
        self.log().messages.get(id).copied()
    }

    pub fn len(&self) -> usize {
        self.log().messages.len()
    }

    /// Removes the messages for which `keep` returns false, and returns how often they were delivered.
    pub fn retain(&self, mut keep: impl FnMut(&str) -> bool) -> Vec<Delivered> {
        self.log().messages.extract_if(|id, _| !keep(id)).map(|(_, delivered)| delivered).collect()
    }
}

#[async_trait]
impl Publisher for Ledger {
    fn enqueue(&self, batch: &mut VecDeque<Message>) -> Acks {
        let results = batch.drain(..).map(|message| {
            let mut log = self.log();
            let place = log.next;
            match log.messages.entry((*message.id()).to_owned()) {
                Entry::Occupied(mut known) => known.get_mut().times += 1,
                Entry::Vacant(new) => {
                    new.insert(Delivered { times: 1, place });
                    log.next += 1;
                }
            }
            Ok(Receipt::default())
        });
        let results: Vec<Result<Receipt, Error>> = results.collect();
        Box::pin(std::future::ready(results))
    }

    async fn ready(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn flush(&self) -> Result<(), Error> {
        Ok(())
    }
}
