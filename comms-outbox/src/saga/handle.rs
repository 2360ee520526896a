//! Messages: one transaction claims a message, and gives it to its runs.

use std::collections::BTreeSet;

use comms_core::{Claim, Claimed, Delivery, Error, Outcome, saga::Input};

use super::{
    RunChange, RunId, SagaStore,
    coordinator::Inner,
    progress::{Progress, message_input},
};

impl<U: SagaStore> Inner<U> {
    /// Handles one delivery.
    pub(super) async fn handle(&self, delivery: &Delivery) -> Result<Outcome, Error> {
        let runs = self.runs_of(delivery)?;
        if runs.is_empty() {
            return Ok(Outcome::Skipped);
        }
        let mut tx = self.store.begin().await?;
        if self.store.claim(&mut tx, &[Claim::of(delivery)]).await?.first() != Some(&Claimed::New) {
            return Ok(Outcome::Duplicate);
        }
        let changes = self.apply(&mut tx, &[(delivery, runs)]).await?;
        self.store.commit(tx).await?;
        self.committed(&changes);
        Ok(Outcome::Done)
    }

    /// Returns the runs that a message belongs to or starts.
    ///
    /// # Errors
    /// Returns the errors of `Definitions::correlate`, and `Invalid` if an id cannot be stored.
    pub(super) fn runs_of(&self, delivery: &Delivery) -> Result<BTreeSet<RunId>, Error> {
        let runs = self.definitions.correlate(&delivery.message)?.into_iter();
        let runs: BTreeSet<_> = runs.map(|(saga, id)| RunId::new(saga, id)).collect();
        runs.iter().try_for_each(RunId::check)?;
        Ok(runs)
    }

    /// Locks the runs of all deliveries, gives each delivery to its runs, in order, and writes the changes.
    pub(super) async fn apply(
        &self,
        tx: &mut U::Tx,
        deliveries: &[(&Delivery, BTreeSet<RunId>)],
    ) -> Result<Vec<RunChange>, Error> {
        let all: BTreeSet<_> = deliveries.iter().flat_map(|(_, runs)| runs).cloned().collect();
        let mut progress = Progress::new(self);
        for stored in self.store.lock_runs(tx, &Vec::from_iter(all)).await?.into_iter().flatten() {
            progress.load(stored);
        }
        for (delivery, runs) in deliveries {
            for run in runs {
                self.give(tx, &mut progress, delivery, run).await?;
            }
        }
        progress.save(tx).await
    }

    /// Gives a delivery to one run, which it may start.
    async fn give(
        &self,
        tx: &mut U::Tx,
        progress: &mut Progress<'_, U>,
        delivery: &Delivery,
        run: &RunId,
    ) -> Result<(), Error> {
        let message = &delivery.message;
        let context = self.context_of(delivery);
        if progress.exists(run) {
            progress.advance(run, &Input::Message(message), message_input(message), &context)?;
            return Ok(());
        }
        let started = self.definitions.start_on(&run.saga, message)?;
        // Another version of the definition may find another id in the message.
        if let Some(started) = started.filter(|started| started.instance.id == run.id) {
            return progress.start(tx, started, message_input(message), context).await;
        }
        if self.definitions.observes(&run.saga, message)? {
            return self.store.keep_early(tx, run, message).await;
        }
        self.reporter.unmatched(run);
        Ok(())
    }
}
