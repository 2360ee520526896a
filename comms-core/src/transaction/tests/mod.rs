mod batch;

use super::*;
use crate::{
    Delivery, ErrorKind, Message, MessageParts, Outcome,
    clock::Clock,
    event::{Event, EventSource, Versions},
    idempotency::{CallKey, StoredReply, reply_once},
    testing::{MemoryTx, MemoryUnit},
    transport::BoxHandler,
};

#[derive(serde::Serialize, serde::Deserialize)]
struct Paid {
    order: String,
}

impl Event for Paid {
    const TYPE: &'static str = "order.paid";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order.clone()
    }
}

fn paid(order: &str) -> Delivery {
    let event = Paid { order: order.into() };
    let message = EventSource::new("orders", Clock::system()).message(&event).unwrap();
    Delivery::new(message, "billing")
}

/// Appends a byte to the row of the order. Then the order `fails` fails, and the order `panics` panics.
fn handler(unit: &MemoryUnit) -> BoxHandler {
    BoxHandler::new(transactional(unit.clone(), |event: Paid, mut tx: Scoped<MemoryTx>| async move {
        append(&mut tx, &event.order).await?;
        match event.order.as_str() {
            "fails" => Err(Error::not_executed("after the write")),
            "panics" => panic!("after the write"),
            _ => Ok(()),
        }
    }))
}

async fn append(tx: &mut MemoryTx, row: &str) -> Result<(), Error> {
    let length = tx.read(row).await?.map_or(0, |bytes| bytes.len());
    tx.write(row, vec![0; length + 1]).await
}

fn length(unit: &MemoryUnit, row: &str) -> usize {
    unit.row(row).map_or(0, |bytes| bytes.len())
}

#[tokio::test]
async fn a_delivery_is_applied_once_in_effect() {
    let unit = MemoryUnit::new();
    let (handler, delivery) = (handler(&unit), paid("a"));
    assert_eq!(handler.handle(delivery.clone()).await.unwrap(), Outcome::Done);
    assert_eq!(handler.handle(delivery.clone()).await.unwrap(), Outcome::Duplicate);
    assert_eq!(length(&unit, "a"), 1);
    let other = Delivery { group: "shipping".into(), ..delivery };
    assert_eq!(handler.handle(other).await.unwrap(), Outcome::Done, "each group applies the message once");
    assert_eq!(length(&unit, "a"), 2);
}

/// One group receives the message on two topics. Two unnamed handlers apply it once each; handlers with one name apply
/// it once.
#[tokio::test]
async fn each_handler_of_a_group_applies_a_message_once() {
    let unit = MemoryUnit::new();
    let topics = |delivery: &Delivery| {
        ["orders", "audit"].map(|topic| {
            let message = delivery.message.clone().to(topic);
            Delivery::new(message, delivery.group.clone())
        })
    };
    let delivery = paid("a");
    for (handler, length_after) in
        [(handler(&unit), 2), (BoxHandler::new(crate::named("one", handler(&unit))), 3)]
    {
        for delivery in topics(&delivery).into_iter().chain(topics(&delivery)) {
            handler.handle(delivery).await.unwrap();
        }
        assert_eq!(length(&unit, "a"), length_after);
    }
    let retried = paid("b");
    let from_retry = Delivery::new(retried.message.clone().to("orders.retry.1m"), "billing");
    let handler = handler(&unit);
    assert_eq!(handler.handle(retried).await.unwrap(), Outcome::Done);
    let from_retry = from_retry.to_handler(Paid::TYPE);
    assert_eq!(
        handler.handle(from_retry).await.unwrap(),
        Outcome::Duplicate,
        "a retry topic does not change the handler"
    );
}

#[tokio::test]
async fn a_failure_or_a_panic_after_the_writes_rolls_back_effect_and_claim() {
    let unit = MemoryUnit::new();
    let handler = handler(&unit);
    let (fails, panics) = (paid("fails"), paid("panics"));
    let claims = [&fails, &panics].map(Claim::of);
    assert!(handler.handle(fails).await.is_err());
    let panicked = tokio::spawn(async move { handler.handle(panics).await }).await;
    assert!(panicked.unwrap_err().is_panic());
    assert!(unit.rows().is_empty() && !claims.iter().any(|claim| unit.has_claim(claim)));
}

#[tokio::test]
async fn a_delivery_is_applied_after_a_failed_commit() {
    let unit = MemoryUnit::new();
    let (handler, delivery) = (handler(&unit), paid("a"));
    unit.fail_next_commit(Error::indeterminate("connection reset"));
    assert_eq!(handler.handle(delivery.clone()).await.unwrap_err().kind, ErrorKind::Indeterminate);
    assert_eq!(handler.handle(delivery).await.unwrap(), Outcome::Done);
    assert_eq!(length(&unit, "a"), 1);
}

#[tokio::test]
async fn other_types_are_skipped_newer_versions_are_misconfigured_and_unreadable_events_are_invalid() {
    let unit = MemoryUnit::new();
    let handler = handler(&unit);
    for (name, wanted) in [
        ("order.paid.v2", Err(ErrorKind::Misconfigured)),
        ("order.paid", Err(ErrorKind::Invalid)),
        ("order.paid.v1x", Err(ErrorKind::Invalid)),
        ("other.v1", Ok(Outcome::Skipped)),
    ] {
        let mut delivery = paid("a");
        delivery.message = delivery.message.with_headers(|headers| headers.insert("ce_type", name));
        let claim = Claim::of(&delivery);
        assert_eq!(handler.handle(delivery).await.map_err(|e| e.kind), wanted, "{name}");
        assert!(!unit.has_claim(&claim));
    }
    for payload in [None, Some(&b"{}"[..]), Some(b"\xff")] {
        let mut delivery = paid("a");
        delivery.message = Message::new(MessageParts { payload, ..delivery.message.parts() });
        assert_eq!(handler.handle(delivery).await.unwrap_err().kind, ErrorKind::Invalid);
    }
}

#[tokio::test]
async fn older_versions_are_upcast_and_newer_ones_are_misconfigured() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct PaidBy {
        order: String,
        by: String,
    }
    impl Event for PaidBy {
        const TYPE: &'static str = Paid::TYPE;
        const VERSION: u32 = 3;
        fn key(&self) -> String {
            self.order.clone()
        }
    }
    let by = |word: &'static str| {
        move |mut old: serde_json::Value| {
            old["by"] = serde_json::json!(format!("{}{word}", old["by"].as_str().unwrap_or("")));
            Ok(old)
        }
    };
    let versions = Versions::<PaidBy>::json().upcast(2, by("-two")).upcast(1, by("one")).build().unwrap();
    let unit = MemoryUnit::new();
    let write =
        |event: PaidBy, mut tx: Scoped<MemoryTx>| async move { tx.write(&event.by, event.order).await };
    let handler = BoxHandler::new(transactional_versions(unit.clone(), versions, write));
    let with_type = |version: &str| {
        let mut delivery = paid("a");
        delivery.message = delivery.message.with_headers(|headers| headers.insert("ce_type", version));
        delivery
    };
    assert_eq!(handler.handle(paid("a")).await.unwrap(), Outcome::Done);
    assert_eq!(handler.handle(with_type("order.paid.v2")).await.unwrap(), Outcome::Done);
    assert_eq!(handler.handle(with_type("other.v1")).await.unwrap(), Outcome::Skipped);
    let newer = handler.handle(with_type("order.paid.v4")).await.unwrap_err();
    assert!(
        newer.kind == ErrorKind::Misconfigured && newer.chain().to_string().contains("newer than v3"),
        "{newer}"
    );
    let written: Vec<_> = unit.rows().into_iter().map(|(by, _)| by).collect();
    assert_eq!(written, ["-two", "one-two"]);
}

#[tokio::test]
async fn a_function_that_keeps_its_transaction_fails_and_rolls_back() {
    let unit = MemoryUnit::new();
    let kept = Arc::new(std::sync::Mutex::new(None));
    let keep = kept.clone();
    let result = in_transaction(&unit, |mut tx: Scoped<MemoryTx>| async move {
        tx.write("kept", "1").await?;
        *keep.lock().unwrap() = Some(tx);
        Ok(())
    });
    assert_eq!(result.await.unwrap_err().kind, ErrorKind::Internal);
    assert!(unit.rows().is_empty());
}

#[tokio::test]
async fn a_request_runs_once_and_its_reply_is_replayed() {
    let unit = MemoryUnit::new();
    let call =
        |principal: &str, body: u8| CallKey::with_fingerprint(principal, "place", "key", [body; 32]).unwrap();
    let place = async |call: CallKey, fail: bool| {
        reply_once(&unit, &call, |mut tx: Scoped<MemoryTx>| async move {
            append(&mut tx, "placed").await?;
            if fail { Err(Error::not_executed("after the write")) } else { Ok(StoredReply::new(0, "done")) }
        })
        .await
    };
    assert!(place(call("ann", 1), true).await.is_err());
    assert!(!place(call("ann", 1), false).await.unwrap().replayed, "a failure stored nothing");
    let again = place(call("ann", 1), false).await.unwrap();
    assert!(again.replayed && again.reply.body == "done");
    assert_eq!(place(call("ann", 2), false).await.unwrap_err().kind, ErrorKind::Invalid);
    assert!(
        !place(call("bob", 1), false).await.unwrap().replayed,
        "the same key of another caller is another key"
    );
    assert_eq!(length(&unit, "placed"), 2);
}

#[tokio::test]
async fn a_reply_over_the_limit_is_refused_and_rolls_back() {
    let unit = MemoryUnit::new();
    let call = CallKey::with_fingerprint("ann", "place", "key", [1; 32]).unwrap();
    let large = async |mut tx: Scoped<MemoryTx>| {
        append(&mut tx, "placed").await?;
        Ok(StoredReply::new(0, vec![0; crate::idempotency::REPLY_LIMIT + 1]))
    };
    assert_eq!(reply_once(&unit, &call, large).await.unwrap_err().kind, ErrorKind::Invalid);
    assert!(unit.rows().is_empty());
}
