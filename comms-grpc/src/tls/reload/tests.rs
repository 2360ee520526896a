//! The decisions about each reading, and the end of the task.

use super::*;

/// A text that says whether it can be loaded.
#[derive(Debug)]
struct Text(String);

impl Material for Text {
    const NAME: &'static str = "text";

    fn load(files: &[Secret], clock: &Clock) -> Result<Self, BoxError> {
        let text = String::from_utf8(files.iter().flat_map(|file| file.to_vec()).collect())?;
        match text.strip_prefix("from ").and_then(|second| second.parse().ok()) {
            Some(second) if clock.unix() < Duration::from_secs(second) => Err("not yet".into()),
            _ if text.starts_with("bad") => Err("bad".into()),
            _ => Ok(Self(text)),
        }
    }

    fn describe(&self) -> String {
        self.0.clone()
    }
}

fn text(reloader: &Reloader<Text>) -> String {
    reloader.current().unwrap().0.clone()
}

/// Applies two equal readings.
fn apply(reloader: &Reloader<Text>, files: Result<&str, &str>, clock: &Clock) {
    for _ in 0..2 {
        let files = files.map(|text| vec![text.as_bytes().to_vec().into()]);
        reloader.apply(files.map_err(str::to_owned), clock);
    }
}

#[tokio::test]
async fn a_reading_is_used_only_if_it_can_be_loaded() {
    let clock = Clock::manual(Duration::from_secs(100));
    let reloader = Arc::new(Reloader::<Text>::new(vec![Source::memory("one")]));
    assert!(reloader.current().is_none());
    reloader.start(&clock).unwrap();
    assert_eq!(text(&reloader), "one");
    let first = reloader.current().unwrap();
    apply(&reloader, Ok("one"), &clock);
    assert!(Arc::ptr_eq(&first, &reloader.current().unwrap()), "an unchanged file is not loaded again");
    for refused in [Ok("bad"), Err("no file"), Ok("from 101")] {
        apply(&reloader, refused, &clock);
        assert_eq!(text(&reloader), "one");
    }
    // The same content can be loaded later.
    clock.advance(Duration::from_secs(1));
    apply(&reloader, Ok("from 101"), &clock);
    assert_eq!(text(&reloader), "from 101");
    apply(&reloader, Ok("one"), &clock);
    assert_eq!(text(&reloader), "one");
}

/// Each part of a file that is written in steps can be loaded by itself.
#[tokio::test]
async fn a_file_that_is_being_written_is_not_used_before_two_readings_are_equal() {
    let clock = Clock::manual(Duration::from_secs(100));
    let reloader = Arc::new(Reloader::<Text>::new(vec![Source::memory("old")]));
    reloader.start(&clock).unwrap();
    let step = |read: &str| {
        reloader.apply(Ok(vec![read.as_bytes().to_vec().into()]), &clock);
        text(&reloader)
    };
    assert_eq!(["leaf", "leaf, chain", "leaf"].map(step), ["old"; 3]);
    assert_eq!(["old", "leaf", "leaf"].map(step), ["old", "old", "leaf"]);
    assert_eq!(["old", "old"].map(step), ["leaf", "old"]);
}

/// A slow reading yields its result one interval later, so a failure stands between any two readings.
#[tokio::test]
async fn a_reading_that_is_slower_than_the_interval_does_not_keep_out_a_new_file() {
    let clock = Clock::manual(Duration::from_secs(100));
    let reloader = Arc::new(Reloader::<Text>::new(vec![Source::memory("old")]));
    reloader.start(&clock).unwrap();
    let refused = || lock(&reloader.state).as_ref().unwrap().refused;
    let step = |read: &str| {
        reloader.report_failure("slow", &clock);
        assert!(refused().is_none());
        reloader.apply(Ok(vec![read.as_bytes().to_vec().into()]), &clock);
        text(&reloader)
    };
    assert_eq!(["leaf", "new", "new"].map(step), ["old", "old", "new"]);
    for reported in [false, true, true] {
        reloader.report_failure("slow", &clock);
        assert_eq!(refused().is_some(), reported);
    }
    assert_eq!(text(&reloader), "new");
}

#[tokio::test]
async fn a_start_that_fails_can_be_repeated_after_the_repair() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let reloader = Arc::new(Reloader::<Text>::new(vec![Source::File(path.clone())]));
    for content in [None, Some("bad"), Some(&*"x".repeat(1024 * 1024 + 1))] {
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let error = reloader.start(&Clock::system()).unwrap_err();
        assert_eq!(error.kind, comms_core::ErrorKind::Misconfigured);
        assert!(error.chain().to_string().contains(&path.display().to_string()), "{}", error.chain());
        assert!(reloader.current().is_none());
    }
    std::fs::write(&path, "good").unwrap();
    reloader.start(&Clock::system()).unwrap();
    assert_eq!(text(&reloader), "good");
}

/// The clock is manual: the task reads once for each interval, and no reading is missed.
#[tokio::test]
async fn the_task_reads_at_each_interval_and_ends_with_the_last_user() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, "one").unwrap();
    let clock = Clock::manual(Duration::from_secs(100));
    let reloader = Reloader::<Text>::new(vec![Source::File(path.clone())]);
    let reloader = Arc::new(reloader.with_interval(Duration::from_secs(60)));
    reloader.start(&clock).unwrap();
    reloader.start(&clock).unwrap();
    tokio::task::yield_now().await;
    std::fs::write(&path, "two").unwrap();
    clock.advance(Duration::from_secs(59));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(text(&reloader), "one");
    clock.advance(Duration::from_secs(1));
    while lock(&reloader.state).as_ref().unwrap().unsettled.is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(text(&reloader), "one");
    clock.advance(Duration::from_secs(60));
    while text(&reloader) != "two" {
        tokio::task::yield_now().await;
    }
    let task = lock(&reloader.task).clone().unwrap();
    assert!(!task.is_finished());
    drop(reloader);
    while !task.is_finished() {
        tokio::task::yield_now().await;
    }
}

/// A runtime that ends takes its task with it. The next start replaces the task.
#[test]
fn a_task_of_an_ended_runtime_is_replaced() {
    let clock = Clock::manual(Duration::from_secs(100));
    let reloader = Arc::new(Reloader::<Text>::new(vec![Source::memory("one")]));
    for _ in 0..2 {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { reloader.start(&clock).unwrap() });
        let task = lock(&reloader.task).clone().unwrap();
        assert!(!task.is_finished());
        drop(runtime);
        assert!(task.is_finished());
    }
}

#[test]
fn no_content_is_printed() {
    let reloader = Reloader::<Text>::new(vec![Source::memory("secret"), Source::File("/tls.key".into())]);
    assert_eq!(format!("{reloader:?}"), r#"[in memory, "/tls.key"]"#);
}
