//! Messages: one transaction claims messages, and gives them to their runs.

use std::collections::{BTreeSet, HashSet};

use comms_core::{
    BatchResults, Claim, Claimed, Delivery, Error, ErrorKind, Outcome, context::Context, saga::Input,
};

use super::{
    RunChange, RunId, SagaStore,
    inner::Inner,
    progress::{Progress, message_input},
};

/// A delivery that is new, with its runs and its context.
struct Given<'a> {
    delivery: &'a Delivery,
    runs: BTreeSet<RunId>,
    context: Context,
}

impl<U: SagaStore> Inner<U> {
    /// Handles one delivery.
    pub(super) async fn handle(&self, delivery: &Delivery) -> Result<Outcome, Error> {
        self.handle_one(delivery).await.map_err(|failed| failed.error)
    }

    async fn handle_one(&self, delivery: &Delivery) -> Result<Outcome, Failed> {
        let context = Context::current();
        let context = match context.trace {
            Some(_) => context,
            None => Context::of_message(&delivery.message, self.clock()),
        };
        let outcomes = self.together(vec![(delivery, context)]).await?;
        Ok(outcomes.first().copied().unwrap_or(Outcome::Skipped))
    }

    /// Handles several deliveries in one transaction, or one by one if it fails. A delivery behind a failed one of its key
    /// is not handled then.
    pub(super) async fn handle_batch(&self, deliveries: &[Delivery]) -> Result<BatchResults, Error> {
        if deliveries.len() > 1 {
            let context = |delivery: &Delivery| Context::of_message(&delivery.message, self.clock());
            let given = deliveries.iter().map(|delivery| (delivery, context(delivery))).collect();
            match self.together(given).await {
                Ok(outcomes) => return Ok(outcomes.into_iter().map(Ok).collect()),
                Err(failed) if failed.is_away => return Err(failed.error),
                Err(_) => {}
            }
        }
        let (mut results, mut failed, mut away) =
            (Vec::with_capacity(deliveries.len()), HashSet::new(), false);
        for delivery in deliveries {
            let key = delivery.message.key();
            let is_behind = away || key.is_some_and(|key| failed.contains(key));
            let result = if is_behind {
                Err(Error::not_executed("the delivery waits behind a failed one of the same batch").into())
            } else {
                self.handle_one(delivery).await
            };
            if let Err(failure) = &result {
                failed.extend(key);
                away |= failure.is_away;
            }
            results.push(result.map_err(|failure| failure.error));
        }
        Ok(results)
    }

    /// Claims and applies deliveries in one transaction. Returns one outcome for each.
    async fn together(&self, deliveries: Vec<(&Delivery, Context)>) -> Result<Vec<Outcome>, Failed> {
        let (mut outcomes, mut given) = (vec![Outcome::Skipped; deliveries.len()], Vec::new());
        for (index, (delivery, context)) in deliveries.into_iter().enumerate() {
            let runs = self.runs_of(delivery)?;
            if !runs.is_empty() {
                given.push((index, Given { delivery, runs, context }));
            }
        }
        if given.is_empty() {
            return Ok(outcomes);
        }
        let mut tx = self.store.begin().await.map_err(Failed::at_transaction)?;
        let claims: Vec<_> = given.iter().map(|(_, given)| Claim::of(given.delivery)).collect();
        let claimed = self.store.claim(&mut tx, &claims).await?;
        let mut new = Vec::with_capacity(given.len());
        for ((index, given), claimed) in given.into_iter().zip(claimed) {
            let is_new = claimed == Claimed::New;
            outcomes[index] = if is_new { Outcome::Done } else { Outcome::Duplicate };
            new.extend(is_new.then_some(given));
        }
        if !new.is_empty() {
            let changes = self.apply(&mut tx, &new).await?;
            self.store.commit(tx).await.map_err(Failed::at_transaction)?;
            self.committed(&changes);
        }
        Ok(outcomes)
    }

    /// Returns the runs that a message belongs to or starts.
    fn runs_of(&self, delivery: &Delivery) -> Result<BTreeSet<RunId>, Error> {
        let runs = self.definitions.correlate(&delivery.message)?.into_iter();
        let runs: BTreeSet<_> = runs.map(|(saga, id)| RunId::new(saga, id)).collect();
        runs.iter().try_for_each(RunId::check)?;
        Ok(runs)
    }

    /// Locks the runs of all deliveries, gives each delivery to its runs, in order, and writes the changes.
    async fn apply(&self, tx: &mut U::Tx, given: &[Given<'_>]) -> Result<Vec<RunChange>, Error> {
        let all: BTreeSet<_> = given.iter().flat_map(|given| &given.runs).cloned().collect();
        let mut progress = Progress::new(self);
        for stored in self.store.lock_runs(tx, &Vec::from_iter(all)).await?.into_iter().flatten() {
            progress.load(stored);
        }
        for given in given {
            let mut unmatched = Vec::new();
            for run in &given.runs {
                if !self.give(tx, &mut progress, given, run).await? {
                    unmatched.push(run);
                }
            }
            if unmatched.len() == given.runs.len() {
                unmatched.into_iter().for_each(|run| self.reporter.unmatched(run));
            }
        }
        progress.save(tx).await
    }

    /// Gives a delivery to one run, which it may start. Returns `false` if there is no such run.
    async fn give(
        &self,
        tx: &mut U::Tx,
        progress: &mut Progress<'_, U>,
        given: &Given<'_>,
        run: &RunId,
    ) -> Result<bool, Error> {
        let (message, context) = (&given.delivery.message, &given.context);
        if progress.exists(run) {
            progress.advance(run, &Input::Message(message), message_input(message), context)?;
            return Ok(true);
        }
        let started = self.definitions.start_on(&run.saga, message)?;
        // Another version of the definition may find another id in the message.
        if let Some(started) = started.filter(|started| started.instance.id == run.id) {
            progress.start(tx, started, message_input(message), context.clone()).await?;
            return Ok(true);
        }
        if self.definitions.observes(&run.saga, message)? {
            self.store.keep_early(tx, run, message).await?;
            return Ok(true);
        }
        Ok(false)
    }
}

/// Why a transaction failed.
struct Failed {
    error: Error,
    /// The database is away, so that the other deliveries of a batch would fail too.
    is_away: bool,
}

impl Failed {
    /// A transaction that could not begin or commit. An error between them, such as that of `on_transition` or of a
    /// locked row, can be that of one delivery.
    fn at_transaction(error: Error) -> Self {
        let is_away = matches!(error.kind, ErrorKind::NotExecuted | ErrorKind::Indeterminate);
        Self { error, is_away }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, is_away: false }
    }
}
