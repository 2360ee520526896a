#![allow(clippy::disallowed_methods, reason = "the tests wait for real time or for tokio's paused time")]

use std::future::pending;

use super::*;

type Log = Arc<Mutex<Vec<String>>>;

/// Ends `seconds` after its signal.
fn slow(stage: &Stage, name: &'static str, seconds: u64, log: &Log) {
    let log = log.clone();
    stage.spawn(name, move |told| async move {
        told.wait().await;
        log.lock().unwrap().push(format!("{name} told"));
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        log.lock().unwrap().push(format!("{name} done"));
        Ok(())
    });
}

const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn a_later_stage_is_told_only_when_the_earlier_has_drained() {
    let (shutdown, log) = (Shutdown::new(Clock::system()), Log::default());
    let (edge, relays) = (shutdown.stage("edge"), shutdown.stage("relays"));
    slow(&relays, "relay", 1, &log);
    slow(&edge, "edge", 2, &log);
    let end = log.clone();
    relays.at_end("flush", async move {
        end.lock().unwrap().push("flush".into());
        Ok(())
    });
    assert!(shutdown.end(LIMIT, pending()).await.is_clean());
    let log = log.lock().unwrap();
    assert_eq!(log[..2], ["edge told", "edge done"]);
    assert!(log[2..4].contains(&"flush".to_owned()) && log[2..4].contains(&"relay told".to_owned()));
    assert_eq!(log[4], "relay done");
}

#[tokio::test(start_paused = true)]
async fn what_hangs_is_named_and_aborted_and_leaves_time_for_the_rest() {
    struct Dropped(Log);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.lock().unwrap().push("dropped".into());
        }
    }
    let (clock, log) = (Clock::system(), Log::default());
    let shutdown = Shutdown::new(clock.clone());
    let own = shutdown.stage_within("own", Duration::from_secs(3));
    let half = shutdown.stage("half");
    let last = shutdown.stage("last");
    let held = Dropped(log.clone());
    own.spawn("hangs", |_| async move {
        let _held = held;
        pending().await
    });
    half.spawn("hangs too", |_| pending());
    slow(&last, "last", 1, &log);
    let started = clock.now();
    let ended = shutdown.end(LIMIT, pending()).await;
    // The first stage takes 3 s and the second one half of the 7 s that are left; then the last one is signalled.
    assert_eq!(clock.now() - started, LIMIT);
    let late = ended.late.iter().map(|(stage, task)| (&**stage, &**task)).collect::<Vec<_>>();
    assert_eq!(late, [("own", "hangs"), ("half", "hangs too")]);
    assert!(!ended.is_clean() && !ended.interrupted && ended.failure.is_none());
    tokio::task::yield_now().await;
    assert_eq!(*log.lock().unwrap(), ["last told", "last done", "dropped"]);
}

#[tokio::test(start_paused = true)]
async fn the_last_stage_has_all_that_is_left() {
    let (shutdown, log) = (Shutdown::new(Clock::system()), Log::default());
    slow(&shutdown.stage("first"), "first", 4, &log);
    slow(&shutdown.stage("last"), "last", 5, &log);
    let ended = shutdown.end(LIMIT, pending()).await;
    assert!(ended.is_clean(), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_after_its_stage_is_late_but_not_aborted() {
    let (clock, log) = (Clock::system(), Log::default());
    let shutdown = Shutdown::new(clock.clone());
    let own = shutdown.stage_within("own", Duration::from_secs(1));
    slow(&own, "same name", 6, &log);
    slow(&own, "same name", 7, &log);
    slow(&shutdown.stage("last"), "last", 1, &log);
    let started = clock.now();
    let ended = shutdown.end(LIMIT, pending()).await;
    assert_eq!(clock.now() - started, Duration::from_secs(7), "until all have ended");
    assert_eq!(ended.late, vec![("own".into(), "same name".into()); 2]);
    assert!(!ended.is_clean());
    assert_eq!(log.lock().unwrap().iter().filter(|line| *line == "same name done").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_limit_without_end_is_no_panic() {
    let (shutdown, log) = (Shutdown::new(Clock::system()), Log::default());
    slow(&shutdown.stage("s"), "task", 1, &log);
    assert!(shutdown.end(Duration::MAX, pending()).await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_task_that_comes_after_the_end_is_aborted() {
    let (shutdown, log) = (Shutdown::new(Clock::system()), Log::default());
    let stage = shutdown.stage("s");
    assert!(shutdown.end(LIMIT, pending()).await.is_clean());
    slow(&stage, "straggler", 1, &log);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(log.lock().unwrap().is_empty() && stage.running().is_empty());
}

#[test]
fn a_task_that_a_closing_runtime_drops_blocks_nobody() {
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let handle = runtime.handle().clone();
        drop(runtime);
        let _entered = handle.enter();
        let stage = Shutdown::new(Clock::system()).stage("s");
        stage.spawn("task", |_| pending());
        done.send(stage.running()).unwrap();
    });
    let running = ended.recv_timeout(Duration::from_secs(10)).expect("spawn came back");
    assert!(running.is_empty(), "{running:?}");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_stands_over_the_limits_of_the_stages() {
    let clock = Clock::system();
    let shutdown = Shutdown::new(clock.clone());
    for name in ["one", "two", "three"] {
        let stage = shutdown.stage_within(name, Duration::from_secs(8));
        stage.spawn(name, |_| pending());
    }
    let started = clock.now();
    let ended = shutdown.end(LIMIT, pending()).await;
    assert_eq!(clock.now() - started, LIMIT);
    assert_eq!(ended.late.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_ends_it_now() {
    let clock = Clock::system();
    let shutdown = Shutdown::new(clock.clone());
    let (first, second) = (shutdown.stage("first"), shutdown.stage("second"));
    first.spawn("hangs", |_| pending());
    let told = second.signal();
    second.spawn("never told in order", |_| pending());
    let started = clock.now();
    let ended = shutdown.end(LIMIT, clock.sleep(Duration::from_secs(1))).await;
    assert_eq!(clock.now() - started, Duration::from_secs(1));
    assert!(ended.interrupted && told.is_signalled());
    assert_eq!(ended.late.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_task_is_heard_and_named_and_the_first_counts() {
    let shutdown = Shutdown::new(Clock::system());
    let stage = shutdown.stage("consumers");
    stage.spawn("saga", |_| async { Err(Error::fatal("fenced")) });
    shutdown.failed().await;
    stage.spawn("later", |_| async { Err(Error::fatal("because of it")) });
    let ended = shutdown.end(LIMIT, pending()).await;
    assert_eq!(ended.failure.unwrap().chain().to_string(), "fatal: saga: fenced");
}

#[tokio::test(start_paused = true)]
async fn a_panic_and_an_early_end_are_failures_too() {
    let panics = Shutdown::new(Clock::system());
    panics.stage("s").spawn("task", |told| async move {
        if !told.is_signalled() {
            panic!("index out of bounds");
        }
        Ok(())
    });
    panics.failed().await;
    let ended = panics.end(LIMIT, pending()).await;
    assert_eq!(ended.failure.unwrap().chain().to_string(), "fatal: task: panicked: index out of bounds");

    let early = Shutdown::new(Clock::system());
    early.stage("s").spawn("task", |_| async { Ok(()) });
    early.failed().await;
    let ended = early.end(LIMIT, pending()).await;
    assert_eq!(
        ended.failure.unwrap().chain().to_string(),
        "fatal: task: ended before shutdown was requested"
    );
}

#[tokio::test]
async fn the_limits_follow_the_injected_clock() {
    let clock = Clock::manual(Duration::ZERO);
    let shutdown = Shutdown::new(clock.clone());
    let stage = shutdown.stage_within("s", Duration::from_secs(5));
    stage.spawn("hangs", |_| pending());
    let ending = tokio::spawn(async move { shutdown.end(LIMIT, pending()).await });
    while !stage.signal().is_signalled() {
        tokio::task::yield_now().await;
    }
    tokio::task::yield_now().await;
    clock.advance(Duration::from_secs(6));
    tokio::task::yield_now().await;
    assert!(!ending.is_finished(), "what is late has until the deadline");
    clock.advance(Duration::from_secs(4));
    assert_eq!(ending.await.unwrap().late.len(), 1);
}
