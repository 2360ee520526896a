//! The ledger: one file to which the driver and all members append what happens.
//!
//! An event has 16 bytes and is appended by one `write` to a file that is open for appending. So the events of all
//! processes have one order, no event is torn, and what a process has written survives its SIGKILL. A handler appends
//! its end before it returns, so a record that is committed has its end in the ledger.

use std::{
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

const SIZE: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A member begins an attempt at a record.
    Begin = 1,
    /// The handler succeeded.
    End,
    /// The handler failed and will be called again.
    Fail,
    /// The handler failed permanently: the record becomes a dead letter.
    Refuse,
    /// The attempt was cancelled, exceeded its time limit, or panicked.
    Drop,
    /// The driver read a committed offset: `process` is the partition, `number` is the offset.
    Committed,
    /// SIGKILL: the process has ended.
    Killed,
    /// SIGSTOP: the process is about to be stopped.
    Stopped,
    /// The broker is about to be killed.
    BrokerDown,
    /// The broker answers again.
    BrokerUp,
}

const KINDS: [Kind; 10] = [
    Kind::Begin,
    Kind::End,
    Kind::Fail,
    Kind::Refuse,
    Kind::Drop,
    Kind::Committed,
    Kind::Killed,
    Kind::Stopped,
    Kind::BrokerDown,
    Kind::BrokerUp,
];

/// One event: `number` is the index of a record, if the event is about a record.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub kind: Kind,
    /// The number of the member.
    pub process: u16,
    pub number: u32,
    /// Milliseconds since 1970.
    pub time: u64,
}

pub fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Appends events.
pub struct Ledger(File);

impl Ledger {
    pub fn open(path: &Path) -> Self {
        Self(File::options().create(true).append(true).open(path).unwrap())
    }

    pub fn append(&self, kind: Kind, process: u16, number: u32) {
        let mut event = [0; SIZE];
        event[0] = kind as u8;
        event[2..4].copy_from_slice(&process.to_le_bytes());
        event[4..8].copy_from_slice(&number.to_le_bytes());
        event[8..].copy_from_slice(&now().to_le_bytes());
        (&self.0).write_all(&event).unwrap();
    }
}

/// Reads the events in their order, from the first one on.
pub struct Reader {
    path: PathBuf,
    file: Option<File>,
    rest: Vec<u8>,
}

impl Reader {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, rest: Vec::new() }
    }

    /// Returns the events that were appended since the last call.
    pub fn read(&mut self) -> Vec<Event> {
        let file = self.file.get_or_insert_with(|| File::open(&self.path).unwrap());
        file.read_to_end(&mut self.rest).unwrap();
        let whole = self.rest.len() / SIZE * SIZE;
        let events = self.rest[..whole].chunks(SIZE).map(decode).collect();
        self.rest.drain(..whole);
        events
    }
}

fn decode(bytes: &[u8]) -> Event {
    Event {
        kind: KINDS[usize::from(bytes[0]) - 1],
        process: u16::from_le_bytes(bytes[2..4].try_into().unwrap()),
        number: u32::from_le_bytes(bytes[4..8].try_into().unwrap()),
        time: u64::from_le_bytes(bytes[8..].try_into().unwrap()),
    }
}
