//! Messages: one transaction claims messages, and gives them to their runs.

use std::collections::{BTreeSet, HashSet};

use comms_core::{
    BatchResults, Claim, Claimed, Delivery, Error, ErrorKind, Outcome, context::Context, saga::Input,
};

use super::{
    RunChange, RunId, SagaStore,
    coordinator::Inner,
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
                Err(error) if is_away(&error) => return Err(error),
                Err(_) => {}
            }
        }
        let (mut results, mut failed, mut away) =
            (Vec::with_capacity(deliveries.len()), HashSet::new(), false);
        for delivery in deliveries {
            let key = delivery.message.key();
            let is_behind = away || key.is_some_and(|key| failed.contains(key));
            let result = if is_behind {
                Err(Error::not_executed("the delivery waits behind a failed one of the same batch"))
            } else {
                self.handle(delivery).await
            };
            if let Err(error) = &result {
                failed.extend(key);
                away |= !is_behind && is_away(error);
            }
            results.push(result);
        }
        Ok(results)
    }

    /// Claims and applies deliveries in one transaction. Returns one outcome for each.
    async fn together(&self, deliveries: Vec<(&Delivery, Context)>) -> Result<Vec<Outcome>, Error> {
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
        let mut tx = self.store.begin().await?;
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
            self.store.commit(tx).await?;
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
            for run in &given.runs {
                self.give(tx, &mut progress, given, run).await?;
            }
        }
        progress.save(tx).await
    }

    /// Gives a delivery to one run, which it may start.
    async fn give(
        &self,
        tx: &mut U::Tx,
        progress: &mut Progress<'_, U>,
        given: &Given<'_>,
        run: &RunId,
    ) -> Result<(), Error> {
        let (message, context) = (&given.delivery.message, &given.context);
        if progress.exists(run) {
            progress.advance(run, &Input::Message(message), message_input(message), context)?;
            return Ok(());
        }
        let started = self.definitions.start_on(&run.saga, message)?;
        // Another version of the definition may find another id in the message.
        if let Some(started) = started.filter(|started| started.instance.id == run.id) {
            return progress.start(tx, started, message_input(message), context.clone()).await;
        }
        if self.definitions.observes(&run.saga, message)? {
            return self.store.keep_early(tx, run, message).await;
        }
        self.reporter.unmatched(run);
        Ok(())
    }
}

/// Returns whether the database is away, so that the other deliveries of a batch would fail too.
const fn is_away(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::NotExecuted | ErrorKind::Indeterminate)
}
