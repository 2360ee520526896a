//! Timers of sagas, and the runs that a sweep finds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use comms_core::{
    Error, ErrorKind,
    health::{Health, Status},
    saga::{Definitions, Phase},
};
use comms_outbox::saga::{Coordinator, RunInput};

use super::{
    saga::{
        Sagas, builder, coordinator, delivery, drive, events, give, handle, order, paid, phase, placed,
        registered, shipped, slow, steady,
    },
    until,
};

const SHORT: Duration = Duration::from_millis(40);

/// No reply comes: the step is attempted again with a new id, and then compensated.
pub async fn a_step_without_a_reply_is_attempted_again_and_compensated<B: Sagas>() {
    let backend = B::start().await;
    let coordinator = coordinator(&backend, &order(1, SHORT));
    give(&coordinator, &placed("7")).await;
    let running = drive(&coordinator);
    until("the run fails", async || phase(&backend, "7").await == Some(Phase::Failed)).await;
    running.stop().await;
    let sent = ["order/7/payment/execute/1", "order/7/payment/execute/2", "order/7/payment/compensate/1"];
    assert_eq!(backend.sent().await, sent);
    let timeline = backend.timeline("7").await.unwrap();
    assert!(
        timeline.log[1..].iter().all(|line| matches!(line.input, RunInput::Timer { .. })),
        "{timeline:?}"
    );
    let traces: Vec<_> = timeline.log.iter().map(|line| line.trace_id.clone()).collect();
    assert!(traces.iter().all(|trace| trace.is_some() && *trace == traces[0]), "{traces:?}");
    assert_eq!(timeline.cause.unwrap().step.as_deref(), Some("payment"));
}

/// A timer that was not deleted with its attempt changes nothing and is deleted, and one of a run that is gone too.
pub async fn a_timer_that_is_not_current_is_deleted<B: Sagas>() {
    let backend = B::start().await;
    let coordinator = coordinator(&backend, &slow(1));
    give(&coordinator, &placed("7")).await;
    give(&coordinator, &paid("7", true)).await;
    let old = "INSERT INTO {s}.comms_saga_timer (saga, id, timer, due_at)
        SELECT saga, NEW_ID, 'payment/execute/1/limit', started_at FROM {s}.comms_saga";
    backend.sql(&old.replace("NEW_ID", "id")).await;
    backend.sql(&old.replace("NEW_ID", "'gone'")).await;
    assert_eq!(backend.count("comms_saga_timer").await, 3);
    let running = drive(&coordinator);
    until("the timers are deleted", async || backend.count("comms_saga_timer").await == 1).await;
    running.stop().await;
    let run = backend.run("7").await.unwrap();
    assert_eq!((run.revision, run.state.as_str(), run.failures), (2, "Shipping", 0));
    assert_eq!(backend.timeline("7").await.unwrap().timers[0].timer, "shipping/execute/1/limit");
}

pub async fn a_sweep_sets_lost_timers_again<B: Sagas>() {
    let backend = B::start().await;
    let coordinator = coordinator(&backend, &order(1, SHORT));
    give(&coordinator, &placed("7")).await;
    backend.sql("DELETE FROM {s}.comms_saga_timer").await;
    let running = drive(&coordinator);
    until("the run fails", async || phase(&backend, "7").await == Some(Phase::Failed)).await;
    running.stop().await;
    let timeline = backend.timeline("7").await.unwrap();
    assert_eq!(timeline.log[1].input, RunInput::Repair);
    let effects = backend.effects().await;
    assert_eq!(
        effects.len(),
        timeline.log.len() - 1,
        "a repair is no change for the application: {effects:?}"
    );
}

/// The run of one version waits until the version is registered, and other runs go on.
pub async fn a_run_waits_until_its_version_is_registered<B: Sagas>() {
    let backend = B::start().await;
    let (old, new) = (order(1, SHORT), order(2, SHORT));
    give(&coordinator(&backend, &old), &placed("old")).await;
    let health = Health::new();
    let component = health.component("sagas");
    let without = builder(&backend, registered(&new)).health(component).build().unwrap();
    let reply = delivery(&paid("old", true));
    assert_eq!(handle(&without, &reply).await.unwrap_err().kind, ErrorKind::Misconfigured);
    give(&without, &placed("new")).await;
    let running = drive(&without);
    until("the other run fails", async || phase(&backend, "new").await == Some(Phase::Failed)).await;
    until("the failure is stored", async || backend.run("old").await.unwrap().failures > 1).await;
    until("it is reported", async || health.readiness().status == Status::Degraded).await;
    running.stop().await;
    let run = backend.run("old").await.unwrap();
    assert!(run.error.unwrap().contains("no definition order v1"));
    assert_eq!((run.phase, run.revision), (Phase::Running, 1));
    let counts = backend.counts().await;
    assert_eq!((counts.len(), counts[0].version, counts[0].failing), (1, 1, 1));

    let both = Definitions::new().register(old).unwrap().register(new).unwrap();
    let both = builder(&backend, both).build().unwrap();
    handle(&both, &reply).await.unwrap();
    let run = backend.run("old").await.unwrap();
    assert_eq!((run.state.as_str(), run.failures, run.error), ("Shipping", 0, None));
    give(&both, &shipped("old", true)).await;
    assert!(backend.counts().await.is_empty(), "the old version can be unregistered");
}

/// The application's function fails for one run, and panics for another.
pub async fn a_failing_function_stops_no_other_run<B: Sagas>() {
    let backend = B::start().await;
    let definition = order(1, SHORT);
    let starter = coordinator(&backend, &definition);
    for id in ["fails", "panics", "works"] {
        give(&starter, &placed(id)).await;
    }
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = broken.clone();
    let coordinator = Coordinator::builder(backend.unit(), events(), registered(&definition))
        .poll_interval(SHORT)
        .backoff(steady())
        .on_transition(move |changes, _| {
            let is_broken = is_broken.load(Ordering::SeqCst);
            Box::pin(async move {
                match changes[0].instance.id.as_str() {
                    "fails" if is_broken => Err(Error::invalid("no such order")),
                    "panics" if is_broken => unreachable!("a bug"),
                    _ => Ok(()),
                }
            })
        })
        .build()
        .unwrap();
    let running = drive(&coordinator);
    until("the other run fails", async || phase(&backend, "works").await == Some(Phase::Failed)).await;
    for (id, reason) in [("fails", "no such order"), ("panics", "panicked")] {
        until("the timer is repeated", async || backend.run(id).await.unwrap().failures > 1).await;
        let run = backend.run(id).await.unwrap();
        assert_eq!(run.revision, 1);
        assert!(run.error.as_ref().unwrap().contains(reason), "{run:?}");
    }
    broken.store(false, Ordering::SeqCst);
    for id in ["fails", "panics"] {
        until("the run goes on", async || phase(&backend, id).await == Some(Phase::Failed)).await;
    }
    running.stop().await;
}

/// A row that another program has damaged stops its own run alone, until it is repaired.
pub async fn a_damaged_row_stops_its_own_run_alone<B: Sagas>() {
    let backend = B::start().await;
    let coordinator = coordinator(&backend, &order(1, SHORT));
    give(&coordinator, &placed("bad")).await;
    give(&coordinator, &placed("good")).await;
    backend.sql("UPDATE {s}.comms_saga SET instance = '{\"saga\": 1}' WHERE id = 'bad'").await;
    let running = drive(&coordinator);
    until("the other run fails", async || phase(&backend, "good").await == Some(Phase::Failed)).await;
    until("the failure is stored", async || backend.run("bad").await.unwrap().failures > 0).await;
    running.stop().await;
    let error = handle(&coordinator, &delivery(&paid("bad", true))).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    let timeline = backend.timeline("bad").await.unwrap();
    assert!(timeline.error.unwrap().contains("decode the instance of the run bad of order"));
}

/// The tables are away and come back, as a database does.
pub async fn the_loop_waits_for_the_database<B: Sagas>() {
    let backend = B::start().await;
    let health = Health::new();
    let component = health.component("sagas");
    let coordinator = builder(&backend, registered(&order(1, SHORT))).health(component).build().unwrap();
    let running = drive(&coordinator);
    until("it is ready", async || health.readiness().status == Status::Ready).await;
    backend.drop_tables().await;
    until("it is unready", async || health.readiness().status == Status::Unready).await;
    backend.migrate().await.unwrap();
    give(&coordinator, &placed("7")).await;
    until("the run fails", async || phase(&backend, "7").await == Some(Phase::Failed)).await;
    until("it is ready", async || health.readiness().status == Status::Ready).await;
    running.stop().await;
}

/// The loop is dropped at any moment, also between the writes and the commit.
pub async fn a_crash_loses_and_repeats_nothing<B: Sagas>() {
    let backend = B::start().await;
    let coordinator = coordinator(&backend, &order(1, SHORT));
    let names: Vec<_> = (0..12).map(|n| format!("{n:02}")).collect();
    for id in &names {
        give(&coordinator, &placed(id)).await;
    }
    for n in 0..30 {
        let running = drive(&coordinator);
        tokio::time::sleep(Duration::from_millis(n)).await;
        running.crash().await;
    }
    let running = drive(&coordinator);
    for id in &names {
        until("the run fails", async || phase(&backend, id).await == Some(Phase::Failed)).await;
        let timeline = backend.timeline(id).await.unwrap();
        let sequences: Vec<_> = timeline.log.iter().map(|line| line.sequence).collect();
        assert_eq!(sequences, Vec::from_iter(1..=sequences.len() as u64));
        assert!(
            timeline.log.iter().all(|line| line.input != RunInput::Repair),
            "no timer is lost: {timeline:?}"
        );
    }
    running.stop().await;
    let mut sent = backend.sent().await;
    sent.sort();
    let command = |id: &String| {
        ["compensate/1", "execute/1", "execute/2"].map(|attempt| format!("order/{id}/payment/{attempt}"))
    };
    assert_eq!(sent, names.iter().flat_map(command).collect::<Vec<_>>());
}
