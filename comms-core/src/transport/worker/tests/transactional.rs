//! A transactional batch handler in a worker.

use std::future::poll_fn;

use super::*;
use crate::{
    MessageParts, Scoped,
    clock::Clock,
    event::{Event, EventSource},
    testing::{MemoryTx, MemoryUnit},
    transactional_batch,
    transport::{AttemptConfig, BoxBatchHandler},
};

#[derive(serde::Serialize, serde::Deserialize)]
struct Viewed {
    page: String,
    number: u32,
}

impl Event for Viewed {
    const TYPE: &'static str = "viewed";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.page.clone()
    }
}

async fn count(views: Vec<Viewed>, mut tx: Scoped<MemoryTx>) -> Result<(), Error> {
    if views.iter().any(|view| view.number == 666) {
        return Err(Error::invalid("poison"));
    }
    for view in views {
        let before = tx.read(&view.page).await?.map(|row| String::from_utf8_lossy(&row).into_owned());
        tx.write(&view.page, format!("{}{} ", before.unwrap_or_default(), view.number)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn each_event_is_applied_once_and_poison_harms_no_other() {
    let unit = MemoryUnit::new();
    let handler = BoxBatchHandler::new(transactional_batch(unit.clone(), count));
    let processor = Processor::new(handler, AttemptConfig::default(), Clock::system(), "test");
    let mut worker = Worker::new(processor, WorkerConfig::default());
    let events = EventSource::new("site", Clock::system());
    let event = |page: &str, number| events.message(&Viewed { page: page.into(), number }).unwrap();
    let first = event("x", 1);
    let unreadable = Message::new(MessageParts { payload: Some(b"{"), ..first.parts() });
    let unreadable = Message::new(MessageParts { id: "other", key: Some(b"z"), ..unreadable.parts() });
    let messages = [
        first.clone(),
        event("y", 2),
        first,
        event("y", 666),
        event("y", 3),
        event("x", 4),
        unreadable,
        event("x", 5),
    ];
    let mut settled = Vec::new();
    for chunk in [0..8, 0..3] {
        poll_fn(|cx| {
            for tag in chunk.clone() {
                let delivery = Delivery::new(messages[tag].clone(), "g");
                assert!(worker.push(delivery, tag as u64, cx).is_none_or(|settled| settled.tag == 1));
            }
            Poll::Ready(())
        })
        .await;
        while let Some(next) = poll_fn(|cx| worker.poll_settled(cx)).await {
            settled.push(format!("{} {}", next.tag, text(&next.result)));
        }
    }
    settled[..8].sort();
    let expected = [
        "0 done",
        "1 done",
        "2 duplicate",
        "3 refused invalid 1",
        "4 behind",
        "5 done",
        "6 refused invalid 1",
        "7 done",
    ];
    assert_eq!(settled[..8], expected);
    assert_eq!(settled[8..], ["0 duplicate", "2 duplicate"], "the key of 1 is blocked");
    let row = |page| unit.row(page).map(|row| String::from_utf8_lossy(&row).into_owned());
    assert_eq!((row("x").as_deref(), row("y").as_deref()), (Some("1 4 5 "), Some("2 ")));
}
