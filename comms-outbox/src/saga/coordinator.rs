//! The coordinator: the application's handle.

use std::{fmt, future::Future, sync::Arc};

use comms_core::{
    BatchHandler, Delivery, Error, Handler, batch_fn,
    context::Context,
    handler_fn, named, named_batch,
    saga::{Definition, Definitions, Input, Instance, Operation},
};
use serde::Serialize;
use serde_json::Value;

use super::{
    RunId, RunInput, SagaStore,
    inner::Inner,
    progress::{Progress, first},
};

/// Stores and drives the runs of sagas. Clones share the settings.
///
/// The [module](super) has the promise and an example.
pub struct Coordinator<U: SagaStore> {
    pub(super) inner: Arc<Inner<U>>,
}

impl<U: SagaStore> Coordinator<U> {
    /// Returns the definitions of the sagas whose runs the coordinator drives.
    #[must_use]
    pub fn definitions(&self) -> &Definitions {
        &self.inner.definitions
    }

    /// Returns the handler of messages, under the name `saga`. Register it for every topic on which an event of
    /// [`Definitions::events`] comes.
    ///
    /// The handler returns [`Outcome::Skipped`](comms_core::Outcome::Skipped) for a message of another event, without a
    /// transaction, and [`Outcome::Duplicate`](comms_core::Outcome::Duplicate) for a redelivery. A message that belongs to
    /// no run changes nothing.
    ///
    /// # Errors
    /// The handler returns
    /// - the errors of [`Definitions::correlate`], [`Definitions::start_on`] and [`Definitions::transition`]:
    ///   [`Misconfigured`](comms_core::ErrorKind::Misconfigured) holds the delivery until the version of the run is
    ///   registered,
    /// - the error of the function [`on_transition`](super::CoordinatorBuilder::on_transition),
    /// - [`Invalid`](comms_core::ErrorKind::Invalid) if the id of a run is empty, longer than 512 bytes or contains NUL, or
    ///   100 messages wait for the start of the run, and
    /// - errors of the database.
    #[must_use]
    pub fn handler(&self) -> impl Handler + use<U> {
        let inner = self.inner.clone();
        let handle = move |delivery: Delivery| {
            let inner = inner.clone();
            async move { inner.handle(&delivery).await }
        };
        named("saga", handler_fn(handle))
    }

    /// Returns the handler of batches of messages, under the name `saga`: as [`handler`](Self::handler), with one transaction
    /// for many messages. If the transaction fails, the messages are handled one by one, so that one bad message or run does
    /// not fail the others.
    ///
    /// # Errors
    /// The result of a delivery is the error of [`handler`](Self::handler). The call fails if the database is away.
    #[must_use]
    pub fn batch_handler(&self) -> impl BatchHandler + use<U> {
        let inner = self.inner.clone();
        let handle = move |deliveries: Vec<Delivery>| {
            let inner = inner.clone();
            async move { inner.handle_batch(&deliveries).await }
        };
        named_batch("saga", batch_fn(handle))
    }

    /// Starts a run of `definition` in the caller's transaction. Returns `false`, and writes nothing, if a run with this id
    /// exists, ended or not.
    ///
    /// The trace and the correlation id of the run are those of the current context. A timer that is due earlier than
    /// [`poll_interval`](super::CoordinatorBuilder::poll_interval) can fire up to that interval late.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Misconfigured`](comms_core::ErrorKind::Misconfigured) if the definition is not registered, and
    /// [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if the data or a command cannot be encoded, or the id is
    /// refused by [`Definition::start`], is empty, longer than 512 bytes or contains NUL. Otherwise returns the errors of the function
    /// [`on_transition`](super::CoordinatorBuilder::on_transition) and of the database. Roll the transaction back after an
    /// error.
    pub async fn start<D: Clone + Serialize + Send>(
        &self,
        tx: &mut U::Tx,
        definition: &Definition<D>,
        id: impl Into<String> + Send,
        data: D,
    ) -> Result<bool, Error> {
        let inner = &self.inner;
        let run = RunId::new(definition.name(), id);
        run.check()?;
        let started = inner.definitions.start(definition, &run.id, data)?;
        if first(inner.store.lock_runs(tx, std::slice::from_ref(&run)).await?).is_some() {
            return Ok(false);
        }
        let mut progress = Progress::new(inner);
        progress.start(tx, started, RunInput::Start, Context::current()).await?;
        let saved = progress.save(tx).await?;
        inner.committed(&saved);
        Ok(true)
    }

    /// Performs the request of an operator in a transaction of its own, and returns the state afterwards. The log of the run
    /// names `operator`.
    ///
    /// # Errors
    /// Returns
    /// - [`ErrorKind::NotFound`](comms_core::ErrorKind::NotFound) if there is no such run,
    /// - [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if the operation is not possible, see
    ///   [`Definition::transition`], or
    /// - the errors of [`Definitions::transition`], of the function
    ///   [`on_transition`](super::CoordinatorBuilder::on_transition), and of the database.
    pub async fn operate(
        &self,
        run: &RunId,
        operator: &str,
        operation: Operation,
    ) -> Result<Instance<Value>, Error> {
        let inner = &self.inner;
        run.check()?;
        let logged = RunInput::operator(operator, &operation);
        let mut tx = inner.store.begin().await?;
        let stored = first(inner.store.lock_runs(&mut tx, std::slice::from_ref(run)).await?);
        let stored = stored.ok_or_else(|| Error::not_found(format!("there is no run {run}")))?;
        let mut progress = Progress::new(inner);
        progress.load(stored);
        let context = progress.stored_context(run);
        progress.advance(run, &Input::Operator(operation), logged, &context)?;
        let instance = progress.instance(run)?;
        let saved = progress.save(&mut tx).await?;
        inner.store.commit(tx).await?;
        inner.committed(&saved);
        Ok(instance)
    }

    /// Handles timers and sweeps until `shutdown` resolves. The timers that are being handled are then finished. Other
    /// processes may do so at the same time.
    ///
    /// While the database is away, the coordinator retries with a backoff, without a limit, and is unready with the
    /// reason. Dropping the future has the effect of a crash.
    ///
    /// # Errors
    /// Never fails: every failure is repeated. The result has the type of the other `run` functions, for the stages of a
    /// shutdown.
    pub async fn run(&self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        self.inner.drive(shutdown).await
    }
}

impl<U: SagaStore> Clone for Coordinator<U> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<U: SagaStore> fmt::Debug for Coordinator<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coordinator").field("definitions", &self.inner.definitions).finish_non_exhaustive()
    }
}
