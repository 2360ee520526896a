//! How a run reads events and reacts to them.

use std::{
    any::{Any, TypeId},
    sync::Arc,
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Error, Message,
    event::{self, Event},
};

type Read = Arc<dyn Fn(&Message) -> Result<Option<Box<dyn Any>>, Error> + Send + Sync>;
type Apply<D> = Box<dyn Fn(&mut D, &dyn Any) -> Reply + Send + Sync>;
type Id = Arc<dyn Fn(&dyn Any) -> Option<String> + Send + Sync>;

/// What an event means for a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The step was executed, or its compensation was.
    Done,
    /// The step was not executed and will not be, or its compensation failed, for a reason in words.
    Failed(String),
    /// The event is no result of the step, such as an intermediate status. Changes of the data are discarded.
    Ignored,
}

/// Reads one type of event and finds the run that an event belongs to.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) type_id: TypeId,
    pub(super) event: &'static str,
    pub(super) read: Read,
    pub(super) id: Id,
}

impl Reader {
    /// Reads JSON of the newest version. The id of the run is the event's key.
    pub(super) fn json<E: Event + Serialize + DeserializeOwned>() -> Self {
        Self {
            type_id: TypeId::of::<E>(),
            event: E::TYPE,
            read: reading(event::read::<E>),
            id: identifying(E::key),
        }
    }
}

/// Erases the type of the event that `read` returns.
pub(super) fn reading<E: Event>(
    read: impl Fn(&Message) -> Result<Option<E>, Error> + Send + Sync + 'static,
) -> Read {
    Arc::new(move |message| Ok(read(message)?.map(|event| Box::new(event) as Box<dyn Any>)))
}

/// Erases the type of the event that `id` takes.
pub(super) fn identifying<E: Event>(id: impl Fn(&E) -> String + Send + Sync + 'static) -> Id {
    Arc::new(move |event| event.downcast_ref().map(&id))
}

/// A function that is called with one type of event.
pub(super) struct Reaction<D> {
    pub(super) reader: Reader,
    apply: Apply<D>,
}

impl<D> Reaction<D> {
    pub(super) fn new<E: Event + Serialize + DeserializeOwned>(
        apply: impl Fn(&mut D, &E) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let apply = move |data: &mut D, event: &dyn Any| {
            event.downcast_ref().map_or(Reply::Ignored, |event| apply(data, event))
        };
        Self { reader: Reader::json::<E>(), apply: Box::new(apply) }
    }

    /// Returns what `event` means, and changes `data`. An event of another type is ignored.
    pub(super) fn apply(&self, data: &mut D, event: &dyn Any) -> Reply {
        (self.apply)(data, event)
    }
}
