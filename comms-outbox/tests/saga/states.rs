//! Every interleaving of a saga of two steps to a small depth, and a crash at every call of the store.

use std::collections::BTreeSet;

use comms_core::saga::Operation;

use super::{
    backend::Sqlite,
    books::Answer,
    orders::{PAYMENT, SHIPPING, Style, two_steps},
    points::Fault,
    world::{NEVER, Planned, World},
};

/// What can happen next.
#[derive(Debug, Clone, Copy)]
enum Action {
    Deliver(Answer),
    LoseCommand,
    Reply { keep: bool },
    LoseReply,
    Fire,
    Cancel,
}

const ACTIONS: [Action; 9] = [
    Action::Deliver(Answer::Accept),
    Action::Deliver(Answer::Refuse),
    Action::Deliver(Answer::Silent),
    Action::LoseCommand,
    Action::Reply { keep: false },
    Action::Reply { keep: true },
    Action::LoseReply,
    Action::Fire,
    Action::Cancel,
];

/// Returns whether the action was possible.
async fn act(world: &mut World, action: Action, planned: Planned) -> bool {
    match action {
        Action::Deliver(answer) => world.deliver(0, answer, false, planned).await,
        Action::LoseCommand => world.lose_command(0),
        Action::Reply { keep } => world.reply(0, keep, planned).await,
        Action::LoseReply => world.lose_reply(0),
        Action::Fire => world.fire(0, false, planned).await,
        Action::Cancel => world.operate(Operation::Cancel { reason: "test".into() }, planned).await,
    }
}

struct Explorer {
    database: Sqlite,
    _directory: tempfile::TempDir,
}

impl Explorer {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { database: Sqlite::create_in(directory.path()).await, _directory: directory }
    }

    /// Returns the world after `path`, which began with the start of the run, or `None` if an action is not possible.
    async fn world(&self, path: &[Action]) -> Option<World> {
        let mut world =
            World::new(&self.database, Style::Orchestrated, &two_steps(NEVER), &[PAYMENT, SHIPPING]).await;
        assert!(world.reply(0, false, None).await);
        for action in path {
            if !act(&mut world, *action, None).await {
                return None;
            }
        }
        Some(world)
    }
}

/// The paths differ in their order, and meet in the same states. Each state is left once in every direction, and drained
/// once. `COMMS_SAGA_DEPTH` is the number of actions.
#[tokio::test]
async fn every_interleaving_of_two_steps_ends() {
    let explorer = Explorer::new().await;
    let (mut paths, mut seen, mut worlds) = (vec![Vec::new()], BTreeSet::new(), 0);
    for _ in 0..super::number("COMMS_SAGA_DEPTH", 5) {
        let mut next = Vec::new();
        for (path, action) in paths.iter().flat_map(|path: &Vec<_>| ACTIONS.map(|action| (path, action))) {
            let path: Vec<_> = path.iter().copied().chain([action]).collect();
            let Some(mut world) = explorer.world(&path).await else { continue };
            worlds += 1;
            if seen.insert(world.state().await) {
                world.drain().await;
                world.check().await;
                next.push(path);
            }
        }
        paths = next;
    }
    println!("{worlds} worlds, {} states", seen.len());
    assert!(seen.len() > 30, "{}", seen.len());
}

/// Each input of a run that succeeds, and of one that is undone, crashes and fails at each of its calls.
#[tokio::test]
async fn a_crash_or_an_error_at_every_call_loses_and_repeats_nothing() {
    const REPLY: Action = Action::Reply { keep: false };
    const DELIVER: Action = Action::Deliver(Answer::Accept);
    const REFUSE: Action = Action::Deliver(Answer::Refuse);
    let succeeds = [DELIVER, REPLY, DELIVER, REPLY];
    let is_undone = [Action::Fire, Action::Fire, DELIVER, REPLY, REFUSE, REPLY, DELIVER, REPLY];
    let is_cancelled = [Action::Cancel, Action::Fire, DELIVER, DELIVER, REPLY];
    let explorer = Explorer::new().await;
    let mut faults = 0;
    for path in [&succeeds[..], &is_undone, &is_cancelled] {
        for index in 0..path.len() {
            for fault in [Fault::Crash, Fault::Error] {
                for call in 1.. {
                    let mut world = explorer.world(&path[..index]).await.unwrap();
                    assert!(
                        act(&mut world, path[index], Some((call, fault))).await
                            || matches!(path[index], Action::Cancel)
                    );
                    let happened = world.happened();
                    world.drain().await;
                    world.check().await;
                    if !happened {
                        break;
                    }
                    faults += 1;
                }
            }
        }
    }
    println!("{faults} faults");
    assert!(faults > 150, "{faults}");
}
