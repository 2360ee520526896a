//! The runs of the order saga: the coordinator, and the changes of the order that follow from a run.

use comms_core::{
    Error, Scoped,
    event::EventSource,
    event_sourcing::{Audit, AuthType},
    saga::{Definition, Definitions},
};
use comms_outbox::saga::{Coordinator, CoordinatorBuilder, RunChange};

use super::{
    domain::Order,
    saga::{self, Limits, OrderData},
    store::Store,
};
use crate::platform::db::{Db, Tx};

/// The definitions of both variants, of which each order has one run.
#[derive(Clone)]
pub(super) struct Variants {
    orchestrated: Definition<OrderData>,
    choreographed: Definition<OrderData>,
}

impl Variants {
    /// Builds the definitions with the time limits of the configuration.
    ///
    /// # Errors
    /// Returns the rule that the steps break, which is a defect of this program.
    pub(super) fn new(limits: &Limits) -> Result<Self, Error> {
        Ok(Self { orchestrated: saga::orchestrated(limits)?, choreographed: saga::choreographed(limits)? })
    }

    /// Returns the builder of the coordinator. In the transaction of each change of a run, the order changes too.
    ///
    /// # Errors
    /// Returns an error if a definition is registered twice, which is a defect of this program.
    pub(super) fn coordinator(
        &self,
        db: Db,
        store: Store,
        events: EventSource,
    ) -> Result<CoordinatorBuilder<Db>, Error> {
        let Self { orchestrated, choreographed } = self.clone();
        let definitions = Definitions::new().register(orchestrated)?.register(choreographed)?;
        Ok(Coordinator::builder(db, events, definitions).on_transition(move |changes, tx| {
            let store = store.clone();
            Box::pin(async move { follow(&store, changes, tx).await })
        }))
    }

    /// Starts the run of a new order in the transaction that places the order.
    ///
    /// # Errors
    /// Returns the errors of [`Coordinator::start`].
    pub(super) async fn start(
        &self,
        runs: &Coordinator<Db>,
        tx: &mut Scoped<Tx>,
        order: &Order,
    ) -> Result<(), Error> {
        let definition = if order.choreographed { &self.choreographed } else { &self.orchestrated };
        let data = OrderData::new(order.buyer_id.clone(), order.item(), order.total()?);
        runs.start(tx, definition, order.order_id.as_str(), data).await.map(drop)
    }
}

/// Makes the changes of the orders that follow from changes of their runs.
async fn follow(store: &Store, runs: &[RunChange], tx: &mut Tx) -> Result<(), Error> {
    for run in runs.iter().map(|change| &change.instance) {
        let data: OrderData = serde_json::from_value(run.data.clone()).map_err(Error::internal)?;
        let changes = saga::changes(run, &data);
        if !changes.is_empty() {
            let audit =
                Audit::new(AuthType::System, &*run.saga).reason(format!("the saga is in {}", run.state));
            store.change(tx, &run.id, changes, audit).await?;
        }
    }
    Ok(())
}
