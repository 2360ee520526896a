//! Operators of sagas: held runs, requests, lists and the end of old runs.

use std::time::Duration;

use comms_core::{
    ErrorKind,
    health::{Health, Status},
    saga::{ForcedStatus, Operation, Phase},
};
use comms_outbox::saga::{LoggedEffect, RunFilter, RunId};

use super::{
    saga::{Sagas, builder, coordinator, drive, give, order, paid, phase, placed, registered, shipped, slow},
    until,
};

fn cancel() -> Operation {
    Operation::Cancel { reason: "the buyer".into() }
}

fn force(step: &str, status: ForcedStatus) -> Operation {
    Operation::Force { step: step.into(), status }
}

pub async fn an_operator_cancels_a_run<B: Sagas>() {
    let backend = B::start().await;
    let coordinator = coordinator(&backend, &slow(1));
    let run = RunId::new("order", "7");
    assert_eq!(coordinator.operate(&run, "ann", cancel()).await.unwrap_err().kind, ErrorKind::NotFound);
    give(&coordinator, &placed("7")).await;
    let operator = (coordinator.clone(), run.clone());
    let cancelled = tokio::spawn(async move { operator.0.operate(&operator.1, "ann", cancel()).await });
    let cancelled = cancelled.await.unwrap().unwrap();
    assert_eq!(cancelled.phase, Phase::Compensating);
    coordinator.operate(&run, "bob", cancel()).await.unwrap();
    let failed = coordinator.operate(&run, "ann", force("payment", ForcedStatus::Done)).await.unwrap();
    assert_eq!(failed.phase, Phase::Failed);
    let error = coordinator.operate(&run, "ann", Operation::Retry).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "it has ended");
    let sent = ["order/7/payment/execute/1", "order/7/payment/compensate/1"];
    assert_eq!(backend.sent().await, sent);
    let timeline = backend.timeline("7").await.unwrap();
    assert_eq!(timeline.log.len(), 3, "a second cancel changes nothing");
    let input = serde_json::to_value(&timeline.log[1].input).unwrap();
    let fields = ["operator", "operation", "reason"].map(|field| input[field].as_str().unwrap());
    assert_eq!(fields, ["ann", "cancel", "the buyer"]);
    assert_eq!(backend.effects().await.len(), 3);
}

pub async fn a_held_run_is_reported_and_continued<B: Sagas>() {
    let backend = B::start().await;
    let health = Health::new();
    let component = health.component("sagas");
    let definition = registered(&order(1, Duration::from_millis(40)));
    let coordinator = builder(&backend, definition).health(component).build().unwrap();
    give(&coordinator, &placed("7")).await;
    give(&coordinator, &paid("7", true)).await;
    let running = drive(&coordinator);
    until("the run is held", async || phase(&backend, "7").await == Some(Phase::Held)).await;
    until("it is reported", async || health.readiness().status == Status::Degraded).await;
    let timeline = backend.timeline("7").await.unwrap();
    let alarm = timeline.log.last().unwrap().effects.last().unwrap();
    assert!(matches!(alarm, LoggedEffect::Alarm { step, .. } if step == "shipping"), "{alarm:?}");
    let counts = backend.counts().await;
    assert_eq!((counts[0].phase, counts[0].runs), (Phase::Held, 1));

    let run = RunId::new("order", "7");
    let retried = coordinator.operate(&run, "ann", Operation::Retry).await.unwrap();
    assert_eq!(retried.step("shipping").unwrap().attempts, 3);
    until("the run is held again", async || phase(&backend, "7").await == Some(Phase::Held)).await;
    let forced = coordinator.operate(&run, "ann", force("shipping", ForcedStatus::Done)).await.unwrap();
    assert_eq!(forced.phase, Phase::Completed);
    until("it is ready", async || health.readiness().status == Status::Ready).await;
    running.stop().await;
    let retries = backend.sent().await.iter().filter(|id| id.contains("shipping")).count();
    assert_eq!(retries, 4);
}

pub async fn runs_are_listed_and_old_ones_deleted<B: Sagas>() {
    let backend = B::start().await;
    let coordinator = coordinator(&backend, &slow(1));
    for id in ["a", "b", "c", "d"] {
        give(&coordinator, &placed(id)).await;
    }
    for id in ["b", "d"] {
        give(&coordinator, &paid(id, true)).await;
        give(&coordinator, &shipped(id, true)).await;
    }
    let ids = async |filter: RunFilter, after: Option<&str>, limit| -> Vec<String> {
        let after = after.map(|id| RunId::new("order", id));
        backend.runs(filter, after, limit).await.into_iter().map(|run| run.run.id).collect()
    };
    assert_eq!(ids(RunFilter::all(), None, 3).await, ["a", "b", "c"]);
    assert_eq!(ids(RunFilter::all(), Some("c"), 3).await, ["d"]);
    assert_eq!(ids(RunFilter::all().phase(Phase::Running).saga("order"), None, 9).await, ["a", "c"]);
    assert!(ids(RunFilter::all().saga("return"), None, 9).await.is_empty());

    assert_eq!(backend.delete_ended(Duration::from_secs(3600), 9).await, 0);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(backend.delete_ended(Duration::from_millis(1), 1).await, 1);
    assert_eq!(backend.delete_ended(Duration::from_millis(1), 9).await, 1);
    assert_eq!(ids(RunFilter::all(), None, 9).await, ["a", "c"]);
    assert_eq!(backend.count("comms_saga_log").await, 2, "one line of each run that is left");
}
