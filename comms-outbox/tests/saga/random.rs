//! Random interleavings of deliveries, losses, timers, crashes and operators.

use comms_core::saga::Operation;
use proptest::prelude::*;

use super::{
    backend::Sqlite,
    books::Answer,
    orders::{Style, definition},
    points::Fault,
    services::SERVICES,
    world::{NEVER, Planned, World},
};

/// A kind of step, a choice, and the fault at one of the next calls.
type Step = (u8, usize, Option<(usize, bool)>);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fault = proptest::option::weighted(0.3, (1..14usize, any::<bool>()));
    proptest::collection::vec((0..22u8, any::<usize>(), fault), 0..60)
}

fn planned(fault: Option<(usize, bool)>) -> Planned {
    fault.map(|(at, crash)| (at, if crash { Fault::Crash } else { Fault::Error }))
}

async fn orchestrated(world: &mut World, (kind, pick, fault): Step) {
    let planned = planned(fault);
    match kind {
        0..=3 => _ = world.deliver(pick, Answer::Accept, false, planned).await,
        4 => _ = world.deliver(pick, Answer::Refuse, false, planned).await,
        5 => _ = world.deliver(pick, Answer::Silent, false, planned).await,
        6 => _ = world.deliver(pick, Answer::Accept, true, planned).await,
        7..=10 => _ = world.reply(pick, false, planned).await,
        11 => _ = world.reply(pick, true, planned).await,
        12 => _ = world.lose_command(pick),
        13 => _ = world.lose_reply(pick),
        14 => world.again(pick, planned).await,
        15 | 16 => _ = world.fire(pick, pick.is_multiple_of(3), planned).await,
        17 if pick.is_multiple_of(4) => world.lose_timers(planned).await,
        17 => _ = world.operate(Operation::Retry, planned).await,
        18 if pick.is_multiple_of(4) => {
            let reason = "random".into();
            _ = world.operate(Operation::Cancel { reason }, planned).await;
        }
        19 => world.force(pick, planned).await,
        _ => world.reply_all(planned).await,
    }
}

/// Events are neither lost nor cancelled, because no command repeats them. They overtake each other.
async fn choreographed(world: &mut World, (kind, pick, fault): Step) {
    let planned = planned(fault);
    match kind {
        0..=5 => _ = world.deliver(pick, Answer::Accept, false, planned).await,
        6 => _ = world.deliver(pick, Answer::Refuse, false, planned).await,
        7 => _ = world.deliver(pick, Answer::Accept, true, planned).await,
        8..=13 => _ = world.reply(pick, false, planned).await,
        14 => _ = world.reply(pick, true, planned).await,
        15 => world.again(pick, planned).await,
        16 => _ = world.fire(pick, pick.is_multiple_of(3), planned).await,
        17 => world.lose_timers(planned).await,
        18 => _ = world.operate(Operation::Retry, planned).await,
        _ => world.reply_all(planned).await,
    }
}

/// Plays `COMMS_SAGA_CASES` random runs to their end.
fn random_runs(style: Style, play: impl AsyncFn(&mut World, Step)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let database = runtime.block_on(Sqlite::create_in(directory.path()));
    let definition = definition(style, NEVER);
    let config = ProptestConfig {
        cases: super::number("COMMS_SAGA_CASES", 48),
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    };
    proptest!(config, |(steps in steps())| {
        runtime.block_on(async {
            let mut world = World::new(&database, style, &definition, &SERVICES).await;
            for step in steps {
                play(&mut world, step).await;
            }
            world.drain().await;
            world.check().await;
        });
    });
}

/// The command, all timers and the process that would set them again are lost.
#[tokio::test]
async fn a_run_that_lost_its_command_its_timers_and_its_coordinator_ends() {
    let directory = tempfile::tempdir().unwrap();
    let database = Sqlite::create_in(directory.path()).await;
    let definition = definition(Style::Orchestrated, NEVER);
    let mut world = World::new(&database, Style::Orchestrated, &definition, &SERVICES).await;
    assert!(world.reply(0, false, None).await);
    assert!(world.lose_command(0));
    world.lose_timers(Some((1, Fault::Crash))).await;
    assert!(!world.fire(0, false, None).await, "the run has a timer");
    world.drain().await;
    world.check().await;
}

#[test]
fn random_runs_end_with_everything_done_or_undone() {
    random_runs(Style::Orchestrated, orchestrated);
}

#[test]
fn random_choreographed_runs_end_with_everything_done_or_undone() {
    random_runs(Style::Choreographed, choreographed);
}
