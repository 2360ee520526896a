//! Random interleavings of deliveries, losses, timers, crashes and operators.

use comms_core::saga::Operation;
use proptest::prelude::*;

use super::{
    backend::Sqlite,
    books::Answer,
    orders::{PAYMENT, SHIPPING, STOCK, Style, definition},
    points::Fault,
    world::{NEVER, World},
};

/// A kind of step, a choice, and the fault at one of the next calls.
type Step = (u8, usize, Option<(usize, bool)>);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fault = proptest::option::weighted(0.3, (1..14usize, any::<bool>()));
    proptest::collection::vec((0..20u8, any::<usize>(), fault), 0..60)
}

async fn play(world: &mut World, (kind, pick, fault): Step) {
    let planned = fault.map(|(at, crash)| (at, if crash { Fault::Crash } else { Fault::Error }));
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
        _ => world.force(pick, planned).await,
    }
}

/// `COMMS_SAGA_CASES` is the number of the cases.
#[test]
fn random_runs_end_with_everything_done_or_undone() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let database = runtime.block_on(Sqlite::create_in(directory.path()));
    let definition = definition(Style::Orchestrated, NEVER);
    let config = ProptestConfig {
        cases: super::number("COMMS_SAGA_CASES", 48),
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    };
    proptest!(config, |(steps in steps())| {
        runtime.block_on(async {
            let mut world = World::new(&database, &definition, &[PAYMENT, STOCK, SHIPPING]).await;
            for step in steps {
                play(&mut world, step).await;
            }
            world.drain().await;
            world.check().await;
        });
    });
}
