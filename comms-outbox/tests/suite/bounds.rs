//! The memory of a relay is bounded in bytes.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use comms_core::{
    Error, Message, Publisher, async_trait,
    transport::{Acks, Receipt},
};

use super::{Backend, message, recorder::Recorder, run, send, until};

const MIB: usize = 1024 * 1024;
/// The bytes of one payload.
pub const LARGE: usize = 896 * 1024;
/// The number of rows with such a payload.
pub const ROWS: usize = 600;

/// A publisher that counts the bytes of the messages without a result.
#[derive(Default)]
struct Scale {
    bytes: Arc<AtomicUsize>,
    most: AtomicUsize,
    messages: AtomicUsize,
}

#[async_trait]
impl Publisher for Scale {
    fn enqueue(&self, batch: &mut VecDeque<Message>) -> Acks {
        let messages: Vec<_> = batch.drain(..).collect();
        let size = messages.iter().map(Message::size).sum();
        self.messages.fetch_add(messages.len(), Ordering::SeqCst);
        let now = self.bytes.fetch_add(size, Ordering::SeqCst) + size;
        self.most.fetch_max(now, Ordering::SeqCst);
        let bytes = self.bytes.clone();
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            bytes.fetch_sub(size, Ordering::SeqCst);
            messages.iter().map(|_| Ok(Receipt::default())).collect()
        })
    }

    async fn ready(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn flush(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Returns a value of `/proc/self/status`, in bytes.
fn memory(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// Runs `test` of this binary alone in a new process, because memory is measured per process.
fn runs_in_new_process(test: &str) -> bool {
    const CHILD: &str = "COMMS_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let program = std::env::current_exe().unwrap();
    let child = std::process::Command::new(program)
        .args(["--exact", test, "--include-ignored", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout) + String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && output.contains("1 passed"), "{output}");
    false
}

/// `insert` writes [`ROWS`] rows of [`LARGE`] bytes. `test` is the name of the calling test.
pub async fn large_rows_take_little_memory<B: Backend>(test: &str, insert: &str) {
    if !runs_in_new_process(test) {
        return;
    }
    let (backend, scale) = (B::start().await, Arc::new(Scale::default()));
    backend.sql(insert).await;
    let before = memory("VmRSS");
    let relay = run(backend.relay(scale.clone()).lease(Duration::from_secs(30)));
    until("every row", async || scale.messages.load(Ordering::SeqCst) == ROWS).await;
    relay.stop().await;
    let (most, grown) = (scale.most.load(Ordering::SeqCst), memory("VmHWM").saturating_sub(before));
    println!("{} MiB with the publisher at most, {} MiB more memory at most", most / MIB, grown / MIB);
    // The default limits of rows in flight and of one page, and one message.
    assert!(most <= 64 * MIB + 8 * MIB + LARGE + 1024, "{most} bytes with the publisher");
    assert!(most > 32 * MIB, "{most} bytes with the publisher");
    assert!(grown < 200 * MIB, "{grown} bytes more memory");
}

/// A row that is larger than a page and than the limit of bytes in flight is delivered alone.
pub async fn a_row_larger_than_a_page_is_delivered<B: Backend>() {
    let (backend, recorder) = (B::start().await, Recorder::new());
    let large = "x".repeat(100_000);
    for n in 0..5 {
        send(&backend, &[message("k", &format!("{n}")), message("k", &format!("{n}{large}"))]).await;
    }
    let relay = run(backend.relay(recorder.clone()).page_bytes(1_000).in_flight_bytes(1_000));
    until("every row", async || recorder.count() == 10).await;
    relay.stop().await;
    let lengths: Vec<_> = recorder.payloads().iter().map(String::len).collect();
    assert_eq!(lengths, [1, 100_001].repeat(5));
}

/// Rows of different sizes, also larger than a page, in pages of a few rows: each is delivered once, in order.
pub async fn rows_of_all_sizes_are_delivered_in_order<B: Backend>() {
    const BYTES: usize = 4_000;
    let (backend, recorder) = (B::start().await, Recorder::new());
    let sizes = [0, 0, 0, 900, 0, BYTES + 1, BYTES, 0, 0, 0, 3 * BYTES];
    let mut expected = Vec::new();
    for n in 0..200 {
        let size = if n < 60 { sizes[n % sizes.len()] } else { 0 };
        expected.push(format!("{n}{}", "x".repeat(size)));
        send(&backend, &[message("k", &expected[n])]).await;
    }
    let relay = run(backend.relay(recorder.clone()).page(8).page_bytes(BYTES));
    until("every row", async || recorder.count() >= expected.len()).await;
    relay.stop().await;
    assert_eq!(recorder.payloads(), expected);
}
