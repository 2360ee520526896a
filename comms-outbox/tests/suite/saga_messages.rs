//! Messages of sagas that come twice, late, early, or at the same time.

use std::time::Duration;

use comms_core::{
    Delivery, ErrorKind, Outcome,
    saga::{Definition, Definitions, Phase},
};
use comms_outbox::saga::Coordinator;
use futures::future::join_all;
use tower_service::Service;

use super::{
    saga::{
        Order, Sagas, Step, Stocked, builder, coordinator, delivery, drive, give, handle, order, paid, phase,
        placed, registered, shipped, slow, start,
    },
    until,
};

pub async fn a_message_that_comes_twice_or_late_changes_nothing<B: Sagas>() {
    let backend = B::start().await;
    let coordinator = coordinator(&backend, &slow(1));
    let first = delivery(&placed("7"));
    assert_eq!(handle(&coordinator, &first).await.unwrap(), Outcome::Done);
    assert_eq!(handle(&coordinator, &first).await.unwrap(), Outcome::Duplicate);
    assert_eq!(give(&coordinator, &placed("7")).await, Outcome::Done, "the start announced again");
    assert_eq!(give(&coordinator, &shipped("7", true)).await, Outcome::Done, "before its command");
    assert_eq!(give(&coordinator, &paid("8", true)).await, Outcome::Done, "of no run");
    assert_eq!(give(&coordinator, &Stocked { order: "7".into() }).await, Outcome::Skipped);
    let run = backend.run("7").await.unwrap();
    assert_eq!((run.revision, run.state.as_str()), (1, "Paying"));
    assert!(backend.run("8").await.is_none());
    give(&coordinator, &paid("7", false)).await;
    give(&coordinator, &paid("7", true)).await;
    assert_eq!(phase(&backend, "7").await, Some(Phase::Failed), "the second reply came too late");
    assert_eq!(backend.sent().await.len(), 1);
}

/// Several starts at once, by messages and by the application: one is new.
pub async fn concurrent_starts_make_one_run<B: Sagas>() {
    let backend = B::start().await;
    let (definition, unit) = (slow(1), backend.unit());
    let coordinator = coordinator(&backend, &definition);
    let starts = (0..4).map(|_| {
        let (unit, coordinator, definition) = (unit.clone(), coordinator.clone(), definition.clone());
        tokio::spawn(async move { start(&unit, &coordinator, &definition, "7").await })
    });
    let messages = (0..4).map(|_| async { give(&coordinator, &placed("7")).await });
    let (starts, messages) = futures::join!(join_all(starts), join_all(messages));
    let starts: Vec<bool> = starts.into_iter().map(Result::unwrap).collect();
    assert!(starts.iter().filter(|is_new| **is_new).count() <= 1);
    assert!(messages.iter().all(|outcome| *outcome == Outcome::Done));
    assert_eq!(backend.sent().await, ["order/7/payment/execute/1"]);
    assert_eq!(backend.run("7").await.unwrap().revision, 1);
}

/// Two coordinators get the same messages and handle the same timers. Half of the replies never come.
pub async fn two_coordinators_have_one_effect_each<B: Sagas>() {
    let backend = B::start().await;
    let definition = order(1, Duration::from_millis(150));
    let both = [coordinator(&backend, &definition), coordinator(&backend, &definition)];
    let running = both.each_ref().map(drive);
    let names: Vec<_> = (0..24).map(|n| format!("{n:02}")).collect();
    let twice = async |delivery: Delivery| {
        let results = join_all(both.iter().map(|one| handle(one, &delivery))).await;
        let done = results.iter().filter(|result| matches!(result, Ok(Outcome::Done))).count();
        assert_eq!(done, 1, "{results:?}");
    };
    join_all(names.iter().map(|id| twice(delivery(&placed(id))))).await;
    for id in names.iter().step_by(2) {
        twice(delivery(&paid(id, true))).await;
    }
    let settled = |phase| matches!(phase, Some(Phase::Held | Phase::Failed));
    for id in &names {
        until("the run is held or failed", async || settled(phase(&backend, id).await)).await;
    }
    for one in running {
        one.stop().await;
    }
    let mut sent = backend.sent().await;
    let all = sent.len();
    sent.sort();
    sent.dedup();
    assert_eq!(sent.len(), all, "no command is sent twice");
    for id in &names {
        let timeline = backend.timeline(id).await.unwrap();
        let sequences: Vec<_> = timeline.log.iter().map(|line| line.sequence).collect();
        assert_eq!(sequences, Vec::from_iter(1..=timeline.log.len() as u64), "one line for each change");
        let effects = backend.effects().await;
        let own = effects.iter().filter(|effect| effect.starts_with(id.as_str())).count();
        assert_eq!(own, timeline.log.len(), "one call of on_transition for each change");
        let is_timed =
            timeline.log.iter().any(|line| serde_json::to_string(&line.input).unwrap().contains("timer"));
        assert!(is_timed, "{timeline:?}");
    }
    assert_eq!(backend.count("comms_saga_timer").await, 0);
}

fn tracker() -> Definition<Order> {
    let stock = Step::observe("stock").reply::<Stocked>(|_, _| comms_core::saga::Reply::Done);
    let builder = Definition::builder("order", 1).start::<super::saga::Placed>(|_| Order::default());
    builder.step(stock.time_limit(Duration::from_secs(600))).build().unwrap()
}

/// Topics have no order between them: the event of another service comes before the run.
pub async fn an_early_event_is_given_to_its_run<B: Sagas>() {
    let backend = B::start().await;
    let coordinator = coordinator(&backend, &tracker());
    let stocked = |id: &str| Stocked { order: id.into() };
    assert_eq!(give(&coordinator, &stocked("7")).await, Outcome::Done);
    assert_eq!((backend.run("7").await.is_none(), backend.count("comms_saga_early").await), (true, 1));
    give(&coordinator, &placed("7")).await;
    let run = backend.run("7").await.unwrap();
    assert_eq!((run.phase, run.revision), (Phase::Completed, 2));
    assert_eq!(backend.count("comms_saga_early").await, 0);
    // At the same time: the event is kept before the run starts, or finds it.
    for id in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let (event, start) = (stocked(id), placed(id));
        futures::join!(give(&coordinator, &event), give(&coordinator, &start));
        assert_eq!(phase(&backend, id).await, Some(Phase::Completed), "{id}");
    }
}

pub async fn early_events_are_bounded_and_expire<B: Sagas>() {
    let backend = B::start().await;
    let definitions = Definitions::new().register(tracker()).unwrap();
    let short = builder(&backend, definitions).early_retention(Duration::from_millis(1)).build().unwrap();
    let stocked = Stocked { order: "7".into() };
    for _ in 0..100 {
        give(&short, &stocked).await;
    }
    let error = handle(&short, &delivery(&stocked)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{}", error.chain());
    assert_eq!(backend.count("comms_saga_early").await, 100);
    let running = drive(&short);
    until("the events expire", async || backend.count("comms_saga_early").await == 0).await;
    running.stop().await;
}

/// One transaction for a batch; one bad message fails alone.
pub async fn a_batch_is_handled_in_one_transaction_or_one_by_one<B: Sagas>() {
    let backend = B::start().await;
    let coordinator = coordinator(&backend, &slow(1));
    let mut handler = coordinator.batch_handler();
    let batch = vec![
        delivery(&placed("7")),
        delivery(&placed("8")),
        delivery(&paid("7", true)),
        delivery(&Stocked { order: "7".into() }),
        delivery(&shipped("7", true)),
    ];
    let outcomes = async |results: comms_core::BatchResults| -> Vec<_> {
        results.into_iter().map(|result| result.map_err(|error| error.kind)).collect()
    };
    let first = outcomes(handler.call(batch.clone()).await.unwrap()).await;
    let (done, skipped) = (Ok(Outcome::Done), Ok(Outcome::Skipped));
    assert_eq!(first, [done, done, done, skipped, done]);
    assert_eq!(backend.run("7").await.unwrap().phase, Phase::Completed);
    assert_eq!(backend.timeline("7").await.unwrap().log.len(), 3, "one line for each input");
    let mut again = batch;
    again.push(delivery(&placed("")));
    again.push(delivery(&paid("8", true)));
    let second = outcomes(handler.call(again).await.unwrap()).await;
    let twice = Ok(Outcome::Duplicate);
    assert_eq!(second, [twice, twice, twice, skipped, twice, Err(ErrorKind::Invalid), done]);
    assert_eq!(backend.run("8").await.unwrap().state, "Shipping");
}

/// A crash between the writes and the commit leaves nothing, and the message is handled again.
pub async fn a_message_whose_transaction_fails_is_handled_again<B: Sagas>() {
    let backend = B::start().await;
    let failing = Coordinator::builder(backend.unit(), super::saga::events(), registered(&slow(1)))
        .on_transition(|_, _| Box::pin(async { Err(comms_core::Error::internal("broken")) }))
        .build()
        .unwrap();
    let start = delivery(&placed("7"));
    assert_eq!(handle(&failing, &start).await.unwrap_err().kind, ErrorKind::Internal);
    assert!(backend.run("7").await.is_none() && backend.sent().await.is_empty());
    assert_eq!(backend.count("comms_saga_log").await, 0);
    let coordinator = coordinator(&backend, &slow(1));
    assert_eq!(handle(&coordinator, &start).await.unwrap(), Outcome::Done);
    assert_eq!(backend.sent().await, ["order/7/payment/execute/1"]);
}
