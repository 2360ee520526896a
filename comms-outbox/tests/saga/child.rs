//! A process with a coordinator and the services of its saga, which ends when every run has ended and every message is
//! handled. The parent describes it by environment variables.

use std::{
    process::{Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use comms_core::{Message, clock::Clock, transport::BoxHandler};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    backend::{Database, Postgres, Sqlite, coordinator},
    books::{Answer, Books},
    orders::{EVENTS, PAYMENT, SHIPPING, STOCK, Style, Times, definition, service},
    points::{Fault, Points},
    services::{SERVICES, handler, trigger},
};

const VARIABLE: &str = "COMMS_SAGA_CHILD";
/// The time limit of a process. Two processes wait for each other in the busy loop of SQLite, whose pauses become long on a
/// busy machine.
const LIMIT: Duration = Duration::from_secs(300);

/// What a process does.
#[derive(Debug, Clone)]
pub struct Task {
    pub is_postgres: bool,
    pub address: String,
    pub style: Style,
    /// The time limit of a step.
    pub limit: Duration,
    /// The number of processes. Each has a consumer group of its own, so that all of them get every event.
    pub processes: usize,
    /// The number of this process, from 0.
    pub process: usize,
    /// The number of runs in the database.
    pub runs: usize,
    /// The number of the call at which the process kills itself; 0 for none.
    pub kill_at: usize,
}

impl Task {
    fn encode(&self) -> String {
        let Self { is_postgres, address, style, limit, processes, process, runs, kill_at } = self;
        let (is_choreographed, limit) = (*style == Style::Choreographed, limit.as_millis());
        format!("{is_postgres} {address} {is_choreographed} {limit} {processes} {process} {runs} {kill_at}")
    }

    fn decode(text: &str) -> Self {
        let mut parts = text.split(' ');
        let mut next = || parts.next().unwrap();
        Self {
            is_postgres: next() == "true",
            address: next().to_owned(),
            style: if next() == "true" { Style::Choreographed } else { Style::Orchestrated },
            limit: Duration::from_millis(next().parse().unwrap()),
            processes: next().parse().unwrap(),
            process: next().parse().unwrap(),
            runs: next().parse().unwrap(),
            kill_at: next().parse().unwrap(),
        }
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child::process", "--include-ignored", "--nocapture"]);
        command.env(VARIABLE, self.encode()).stdin(Stdio::null());
        command
    }

    /// Runs the process to its end.
    pub fn run(&self) -> Output {
        self.command().output().unwrap()
    }
}

#[test]
#[ignore = "the process of other tests"]
fn process() {
    let Ok(text) = std::env::var(VARIABLE) else { return };
    let task = Task::decode(&text);
    // One thread: the process stops at the call at which it kills itself.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if task.is_postgres {
        runtime.block_on(work::<Postgres>(&task));
    } else {
        runtime.block_on(work::<Sqlite>(&task));
    }
}

/// A run whose id begins with `refused` is refused by shipping. The first shipment of the others gets no reply, and the
/// first refund fails.
fn judge(letter: char, message: &Message) -> Answer {
    let is_refused = message.key().is_some_and(|key| key.starts_with(b"refused"));
    match letter {
        SHIPPING if is_refused => Answer::Refuse,
        SHIPPING if message.id().ends_with("/execute/1") => Answer::Silent,
        PAYMENT if message.id().ends_with("/compensate/1") => Answer::Refuse,
        _ => Answer::Accept,
    }
}

async fn work<D: Database>(task: &Task) {
    let database = D::open(&task.address).await;
    let points = Points::new(database.unit());
    points.faults.set(task.kill_at, Fault::Kill);
    let times = Times { limit: task.limit, attempts: 1_000, backoff: Duration::from_millis(20) };
    let coordinator = coordinator(&points, &definition(task.style, times)).concurrency(2).build().unwrap();
    let (mut loops, stop) = (JoinSet::new(), CancellationToken::new());
    for (group, topics) in groups(task) {
        let letter = SERVICES.into_iter().find(|letter| service(*letter) == group);
        let member = format!("member {}", task.process);
        let consumer = database.consumer(&group).owner(member).lease(Duration::from_secs(1));
        let mut consumer = consumer.poll_interval(Duration::from_millis(20));
        if letter.is_none() && group != saga_group(task.process) {
            continue;
        }
        for topic in topics {
            let handler = match letter {
                Some(PAYMENT) => BoxHandler::new(handler::<_, PAYMENT>(points.clone(), Arc::new(judge))),
                Some(STOCK) => BoxHandler::new(handler::<_, STOCK>(points.clone(), Arc::new(judge))),
                Some(_) => BoxHandler::new(handler::<_, SHIPPING>(points.clone(), Arc::new(judge))),
                None => BoxHandler::new(coordinator.handler()),
            };
            consumer = consumer.on(topic, handler);
        }
        loops.spawn(consumer.build().unwrap().run(stop.clone().cancelled_owned()));
    }
    let (timers, unit, stopped) = (coordinator.clone(), database.unit(), stop.clone());
    loops.spawn(async move { timers.run(stopped.cancelled_owned()).await });
    tokio::select! {
        () = finished(&unit, task) => {}
        ended = loops.join_next() => panic!("a loop has ended: {ended:?}"),
    }
    // The groups store their positions, so that the next process does not get every message again.
    stop.cancel();
    while let Some(ended) = loops.join_next().await {
        ended.unwrap().unwrap();
    }
}

fn saga_group(process: usize) -> String {
    format!("saga-{process}")
}

/// Returns the consumer groups of all processes with their topics.
fn groups(task: &Task) -> Vec<(String, Vec<&'static str>)> {
    let sagas = (0..task.processes).map(|process| (saga_group(process), EVENTS.to_vec()));
    let services = SERVICES.map(|letter| {
        let mut topics = vec![service(letter)];
        topics.extend((task.style == Style::Choreographed).then_some(trigger(letter)));
        (service(letter).to_owned(), topics)
    });
    sagas.chain(services).collect()
}

/// Resolves when every run has ended and every group has handled every message.
async fn finished<B: Books>(books: &B, task: &Task) {
    let begun = Instant::now();
    while let Some(open) = open(books, task).await {
        assert!(begun.elapsed() < LIMIT, "it does not end: {open}");
        Clock::system().sleep(Duration::from_millis(20)).await;
    }
}

/// Returns what is not finished.
async fn open<B: Books>(books: &B, task: &Task) -> Option<String> {
    let mut tx = books.begin().await.ok()?;
    let ended = "SELECT id FROM comms_saga WHERE phase IN ('completed', 'failed')";
    let ended = books.column(&mut tx, ended, &[]).await.unwrap().len();
    if ended < task.runs {
        return Some(format!("{ended} of {} runs have ended", task.runs));
    }
    for (group, topics) in groups(task) {
        let mut sent = 0;
        for topic in topics {
            let text = "SELECT msg_id FROM comms_outbox WHERE topic = $1";
            sent += books.column(&mut tx, text, &[topic]).await.unwrap().len();
        }
        let text = "SELECT id FROM comms_inbox WHERE subscriber = $1";
        let handled = books.column(&mut tx, text, &[&group]).await.unwrap().len();
        if handled < sent {
            return Some(format!("{group} has handled {handled} of {sent} messages"));
        }
    }
    None
}
