//! The changes of one transaction: runs that are locked, their new states, and what is written for them.

use std::collections::BTreeMap;

use comms_core::{
    Error, ErrorKind, Message,
    context::Context,
    saga::{Input, Instance, Transition},
};
use serde_json::Value;

use super::{RunChange, RunId, RunInput, SagaStore, StoredRun, context, inner::Inner};

/// The locked runs of a transaction.
pub(super) struct Progress<'a, U: SagaStore> {
    inner: &'a Inner<U>,
    runs: BTreeMap<RunId, Run>,
    changes: Vec<RunChange>,
}

/// A run whose row is locked. Its instance is decoded when it is used, so that a damaged row fails its own input alone.
enum Run {
    Stored(StoredRun),
    Changed { instance: Instance<Value>, revision: u64 },
}

impl Run {
    fn state(&self) -> Result<(Instance<Value>, u64), Error> {
        match self {
            Self::Stored(stored) => Ok((stored.instance()?, stored.revision)),
            Self::Changed { instance, revision } => Ok((instance.clone(), *revision)),
        }
    }
}

impl<'a, U: SagaStore> Progress<'a, U> {
    pub(super) const fn new(inner: &'a Inner<U>) -> Self {
        Self { inner, runs: BTreeMap::new(), changes: Vec::new() }
    }

    pub(super) fn load(&mut self, stored: StoredRun) {
        self.runs.insert(stored.run.clone(), Run::Stored(stored));
    }

    pub(super) fn exists(&self, run: &RunId) -> bool {
        self.runs.contains_key(run)
    }

    /// Returns the state of a loaded run.
    pub(super) fn instance(&self, run: &RunId) -> Result<Instance<Value>, Error> {
        self.state(run).map(|(instance, _)| instance)
    }

    /// Returns the context of the last input of a loaded run, for an input without one.
    pub(super) fn stored_context(&self, run: &RunId) -> Context {
        let stored = match self.runs.get(run) {
            Some(Run::Stored(stored)) => context::decode(&stored.headers, self.inner.clock()),
            _ => Context::default(),
        };
        self.inner.complete(stored, run)
    }

    fn state(&self, run: &RunId) -> Result<(Instance<Value>, u64), Error> {
        let missing = || Error::internal(format!("the run {run} is not loaded"));
        self.runs.get(run).ok_or_else(missing)?.state()
    }

    /// Gives `input` to a loaded run. Returns whether the run changed.
    pub(super) fn advance(
        &mut self,
        run: &RunId,
        input: &Input<'_>,
        logged: RunInput,
        context: &Context,
    ) -> Result<bool, Error> {
        let (instance, revision) = self.state(run)?;
        let transition = self.inner.definitions.transition(&instance, input)?;
        let changed = transition.changed;
        if changed {
            self.change(transition, revision, logged, context);
        }
        Ok(changed)
    }

    /// Starts a run, and gives it the messages that came before it.
    ///
    /// # Errors
    /// Returns the error of a message that cannot be handled, unless the kind is `Invalid`: another version of the
    /// definition, or a repaired row, can handle the message, so the start waits.
    pub(super) async fn start(
        &mut self,
        tx: &mut U::Tx,
        started: Transition<Value>,
        logged: RunInput,
        context: Context,
    ) -> Result<(), Error> {
        let run = RunId::of(&started.instance);
        let context = self.inner.complete(context, &run);
        self.change(started, 0, logged, &context);
        for message in self.inner.store.take_early(tx, &run).await? {
            let context = Context::of_message(&message, self.inner.clock());
            let taken = self.advance(&run, &Input::Message(&message), message_input(&message), &context);
            if let Err(error) = taken {
                if error.kind != ErrorKind::Invalid {
                    return Err(error.context(format_args!("the early message {}", message.id())));
                }
                // A damaged message must not stop the start of the run. It stays in the table for an operator.
                let (id, error) = (message.id(), error.chain());
                tracing::error!(%run, message = %id, %error, "an early message could not be handled");
                self.inner.store.keep_early(tx, &run, &message).await?;
            }
        }
        Ok(())
    }

    /// Sets the timers of a loaded run that are not in `stored`.
    pub(super) fn repair(&mut self, run: &RunId) -> Result<(), Error> {
        let (instance, revision) = self.state(run)?;
        let timers = self.inner.definitions.timers(&instance)?;
        if timers.is_empty() {
            return Ok(());
        }
        tracing::warn!(%run, "a run in progress had no timer: it is set again");
        let effects = timers.into_iter().map(|(timer, wait)| comms_core::saga::Effect::SetTimer(timer, wait));
        let (effects, context) = (effects.collect(), self.stored_context(run));
        let revision = revision + 1;
        self.changes.push(RunChange { instance, revision, input: RunInput::Repair, effects, context });
        Ok(())
    }

    fn change(&mut self, next: Transition<Value>, revision: u64, input: RunInput, context: &Context) {
        let (instance, effects, revision) = (next.instance, next.effects, revision + 1);
        let run = Run::Changed { instance: instance.clone(), revision };
        self.runs.insert(RunId::of(&instance), run);
        self.changes.push(RunChange { instance, revision, input, effects, context: context.clone() });
    }

    /// Writes the changes, their commands, and the application's part, and returns the changes.
    ///
    /// # Errors
    /// Returns `Conflict` if another transaction has changed a run in spite of the lock, and the errors of the database
    /// and of the application's function.
    pub(super) async fn save(self, tx: &mut U::Tx) -> Result<Vec<RunChange>, Error> {
        let (inner, changes) = (self.inner, self.changes);
        if changes.is_empty() {
            return Ok(changes);
        }
        if !inner.store.save_runs(tx, &changes).await? {
            return Err(Error::conflict("another transaction has changed or started a run"));
        }
        let mut messages = Vec::new();
        for change in &changes {
            let commands =
                async { change.commands().map(|command| command.message(&inner.events)).collect() };
            let commands: Vec<Message> = change.context.clone().scope(commands).await;
            messages.extend(commands);
        }
        inner.store.enqueue(tx, &messages).await?;
        let is_repair = changes.iter().all(|change| change.input == RunInput::Repair);
        if let Some(function) = inner.on_transition.as_ref().filter(|_| !is_repair) {
            function(&changes, tx).await.map_err(|error| error.context("the function on_transition"))?;
        }
        Ok(changes)
    }
}

/// Returns the only result of a call with one run.
pub(super) fn first(locked: Vec<Option<StoredRun>>) -> Option<StoredRun> {
    locked.into_iter().next().flatten()
}

pub(super) fn message_input(message: &Message) -> RunInput {
    RunInput::Message {
        event_type: message.event_type().map(str::to_owned),
        source: message.source().to_owned(),
        id: message.id().to_owned(),
    }
}
