//! Timers and operators of a world, and its end.

use std::time::Duration;

use comms_core::{
    ErrorKind, Message, UnitOfWork,
    saga::{ForcedStatus, Operation, Phase, StepState, StepStatus},
};
use comms_outbox::{saga::RunId, sqlite::Tables};

use super::{Planned, RUN, World};
use crate::{
    backend::Database,
    books::{self, Answer, Books},
    orders::service,
    services::SERVICES,
};

impl World {
    /// Makes a timer due, however long its wait is, and runs the coordinators until it is handled or they crash.
    pub async fn fire(&mut self, pick: usize, both: bool, planned: Planned) -> bool {
        // An observed event that comes after its time limit breaks the promise.
        let of = if self.is_choreographed { "compensate" } else { "" };
        let text = "SELECT timer FROM comms_saga_timer WHERE timer LIKE '%' || $1 || '%' ORDER BY timer";
        let timers: Vec<String> =
            sqlx::query_scalar(text).bind(of).fetch_all(&self.database.pool).await.unwrap();
        let Some(timer) = timers.get(pick % timers.len().max(1)) else { return false };
        let due = sqlx::query("UPDATE comms_saga_timer SET due_at = 0 WHERE timer = $1").bind(timer);
        due.execute(&self.database.pool).await.unwrap();
        self.drive(both, planned).await;
        true
    }

    /// Deletes every timer, and runs a coordinator, which finds and repairs the run.
    pub async fn lose_timers(&mut self, planned: Planned) {
        sqlx::query("DELETE FROM comms_saga_timer").execute(&self.database.pool).await.unwrap();
        self.drive(false, planned).await;
    }

    /// Runs the timers until none is due and the run has one.
    async fn drive(&mut self, both: bool, planned: Planned) {
        self.plan(planned);
        let (one, other) = (self.coordinator().clone(), self.coordinators[self.inputs % 2].clone());
        let run = async {
            let (stop, stopped) = tokio::sync::watch::channel(false);
            let stopped = || {
                let mut stopped = stopped.clone();
                async move {
                    let _ = stopped.wait_for(|stop| *stop).await;
                }
            };
            let idle = async {
                for polls in 0.. {
                    if !self.is_busy().await {
                        break;
                    }
                    assert!(polls < 10_000, "the coordinator does not handle its timers");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                stop.send_replace(true);
            };
            if both {
                let (one, other, ()) = tokio::join!(one.run(stopped()), other.run(stopped()), idle);
                one.and(other).unwrap();
            } else {
                let (one, ()) = tokio::join!(one.run(stopped()), idle);
                one.unwrap();
            }
        };
        self.faults.crash(run).await;
        self.faults.clear();
        self.read().await;
    }

    async fn is_busy(&self) -> bool {
        let text = "SELECT count(*) FROM comms_saga_timer WHERE due_at <= unixepoch('subsec') * 1000 + 60000
            UNION ALL SELECT count(*) FROM comms_saga WHERE phase IN ('running', 'compensating')
            AND NOT EXISTS (SELECT 1 FROM comms_saga_timer)";
        let counts: Vec<i64> = sqlx::query_scalar(text).fetch_all(&self.database.pool).await.unwrap();
        counts.iter().sum::<i64>() > 0
    }

    /// Returns whether the operation was done. One that is not possible now is refused.
    pub async fn operate(&mut self, operation: Operation, planned: Planned) -> bool {
        self.plan(planned);
        let run = RunId::new("order", RUN);
        let result = self.faults.crash(self.coordinator().operate(&run, "operator", operation)).await;
        self.faults.clear();
        if let Some(Err(error)) = &result {
            let is_refused = matches!(error.kind, ErrorKind::Invalid | ErrorKind::NotFound);
            assert!(is_refused || self.happened(), "{error:?}");
        }
        self.read().await;
        matches!(result, Some(Ok(_)))
    }

    /// Sets the result of a step in progress: the operator looks at the books of the service, and completes them.
    pub async fn force(&mut self, pick: usize, planned: Planned) {
        let steps: Vec<StepState> = self.steps().await.into_iter().filter(is_in_progress).collect();
        let Some(step) = steps.get(pick % steps.len().max(1)) else { return };
        let letter = SERVICES.into_iter().find(|letter| service(*letter) == step.name).unwrap();
        let status = self.complete(letter, step.compensations > 0).await;
        self.operate(Operation::Force { step: step.name.clone(), status }, planned).await;
    }

    async fn complete(&self, letter: char, is_undone: bool) -> ForcedStatus {
        let unit = self.database.unit();
        let mut tx = unit.begin().await.unwrap();
        let status = if is_undone {
            assert!(books::undo(&unit, &mut tx, RUN, letter, Answer::Accept).await.unwrap());
            ForcedStatus::Compensated
        } else {
            match books::status(&unit, &mut tx, RUN, letter).await.unwrap().as_str() {
                "executed" => ForcedStatus::Done,
                _ => {
                    books::set(&unit, &mut tx, RUN, letter, "refused").await.unwrap();
                    ForcedStatus::Failed
                }
            }
        };
        unit.commit(tx).await.unwrap();
        status
    }

    /// Lets everything arrive until the run has ended, and then everything that is still on its way.
    pub async fn drain(&mut self) {
        for round in 0..1_000 {
            let delivered = self.deliver(round, Answer::Accept, false, None).await;
            if self.reply(round, false, None).await || delivered {
                continue;
            }
            if self.phase().await.is_some_and(|phase| matches!(phase, Phase::Completed | Phase::Failed)) {
                return;
            }
            if self.operate(Operation::Retry, None).await || self.fire(round, false, None).await {
                continue;
            }
            // A crash after the loss of the timers leaves a run without one. The sweep of a coordinator finds it.
            self.drive(false, None).await;
        }
        panic!("the run does not end: {:?}", self.steps().await);
    }

    /// Checks an ended run, and that nothing changes it any more.
    pub async fn check(&self) {
        books::check(&self.database.unit(), RUN, &self.services).await;
    }

    pub async fn steps(&self) -> Vec<StepState> {
        let mut conn = self.database.pool.acquire().await.unwrap();
        let run = Tables::new().saga_run(&mut conn, &RunId::new("order", RUN)).await.unwrap();
        run.map(|run| run.instance().unwrap().steps).unwrap_or_default()
    }

    pub async fn phase(&self) -> Option<Phase> {
        let mut conn = self.database.pool.acquire().await.unwrap();
        let run = Tables::new().saga_run(&mut conn, &RunId::new("order", RUN)).await.unwrap();
        run.map(|run| run.phase)
    }

    /// Returns everything that decides about the future of the world.
    pub async fn state(&self) -> String {
        let unit = self.database.unit();
        let mut tx = unit.begin().await.unwrap();
        let records =
            unit.column(&mut tx, "SELECT service || ' ' || status FROM record ORDER BY service", &[]);
        let records = records.await.unwrap();
        let timers =
            unit.column(&mut tx, "SELECT timer FROM comms_saga_timer ORDER BY timer", &[]).await.unwrap();
        drop(tx);
        let ids: Vec<_> = self.requests.values().flatten().map(Message::id).collect();
        let mut replies: Vec<_> = self.replies.iter().map(|reply| (reply.topic(), reply.payload())).collect();
        replies.sort_unstable();
        let (steps, phase) = (self.steps().await, self.phase().await);
        format!("{phase:?} {steps:?} {records:?} {timers:?} {ids:?} {replies:?}")
    }
}

fn is_in_progress(step: &StepState) -> bool {
    matches!(step.status, StepStatus::Running | StepStatus::Compensating | StepStatus::Held)
}
