//! Any sequence of assignments, revocations, losses and completions: no commit passes an unfinished record or names a
//! partition that was taken away, and no record is lost.

mod group;

use proptest::prelude::*;

use group::{Answer, Group, PARTITIONS};

#[derive(Debug, Clone)]
enum Step {
    Produce {
        partition: i32,
        records: i64,
    },
    Assign {
        partition: i32,
    },
    Fetch {
        partition: i32,
        records: i64,
    },
    /// Ends one of the running handlers.
    End {
        which: usize,
        fails: bool,
    },
    Commit(Answer),
    /// The committer reads the assignments, and is overtaken by the next steps.
    BeginCommit,
    /// The commit of an earlier `BeginCommit`.
    LateCommit(Answer),
    /// The group takes the partition back, and waits for this member. So many handlers end within the drain time.
    Revoke {
        partition: i32,
        ends: usize,
        answer: Answer,
    },
    /// The group gives the partition to another member, without this member.
    Evict {
        partition: i32,
    },
    /// This member learns that it has lost the partition.
    Lose {
        partition: i32,
    },
    /// Another member, which has the partition, handles records and commits.
    Other {
        partition: i32,
        records: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let partition = || 0..PARTITIONS;
    let answer =
        || prop_oneof![4 => Just(Answer::Accepted), 1 => Just(Answer::Refused), 1 => Just(Answer::Lost)];
    let in_partition = move |records: std::ops::Range<i64>| (partition(), records);
    prop_oneof![
        4 => in_partition(1..6).prop_map(|(partition, records)| Step::Produce { partition, records }),
        4 => partition().prop_map(|partition| Step::Assign { partition }),
        6 => in_partition(1..6).prop_map(|(partition, records)| Step::Fetch { partition, records }),
        12 => (any::<usize>(), prop::bool::weighted(0.1)).prop_map(|(which, fails)| Step::End { which, fails }),
        5 => answer().prop_map(Step::Commit),
        2 => Just(Step::BeginCommit),
        2 => answer().prop_map(Step::LateCommit),
        2 => (partition(), 0usize..4, answer())
            .prop_map(|(partition, ends, answer)| Step::Revoke { partition, ends, answer }),
        1 => partition().prop_map(|partition| Step::Evict { partition }),
        2 => partition().prop_map(|partition| Step::Lose { partition }),
        2 => in_partition(1..6).prop_map(|(partition, records)| Step::Other { partition, records }),
    ]
}

async fn run(steps: Vec<Step>) {
    let mut group = Group::new();
    for step in steps {
        match step {
            Step::Produce { partition, records } => group.produce(partition, records),
            Step::Assign { partition } => group.assign(partition),
            Step::Fetch { partition, records } => group.fetch(partition, records),
            Step::End { which, fails } => group.end(which, fails),
            Step::Commit(answer) => group.commit(answer),
            Step::BeginCommit => group.begin_commit(),
            Step::LateCommit(answer) => group.late_commit(answer),
            Step::Revoke { partition, ends, answer } => group.revoke(partition, ends, answer).await,
            Step::Evict { partition } => group.evict(partition),
            Step::Lose { partition } => group.lose(partition),
            Step::Other { partition, records } => group.other(partition, records),
        }
        group.progress().await;
    }
    group.finish().await;
}

proptest! {
    #[test]
    fn any_course_of_rebalances_commits_what_is_finished_and_loses_nothing(
        steps in prop::collection::vec(step(), 0..80),
    ) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run(steps));
    }
}
