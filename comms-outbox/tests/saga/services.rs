//! The services of an order as handlers.

use std::sync::Arc;

use comms_core::{
    Delivery, Error, Handler, Message, Outcome, Scoped,
    clock::Clock,
    event::{self, Event, EventSource},
    handler_fn, once,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    books::{Answer, Books, perform, undo},
    orders::{Did, Do, PAYMENT, Placed, SHIPPING, STOCK, Undid, Undo, service},
};

/// Returns how the service of a letter handles a message.
pub type Judge = Arc<dyn Fn(char, &Message) -> Answer + Send + Sync>;

/// What a message means for a service.
enum Request {
    Do(String),
    Undo(String),
    /// The event of a service that refused: there is nothing to do.
    Nothing,
}

/// Returns the handler of a service: commands of the saga, and the event after which the service acts by itself in a
/// choreographed saga.
pub fn handler<B: Books, const SERVICE: char>(books: B, judge: Judge) -> impl Handler {
    handler_fn(move |delivery: Delivery| {
        let (books, judge) = (books.clone(), judge.clone());
        async move { handle::<B, SERVICE>(&books, &judge, &delivery).await }
    })
}

async fn handle<B: Books, const SERVICE: char>(
    books: &B,
    judge: &Judge,
    delivery: &Delivery,
) -> Result<Outcome, Error> {
    let Some(request) = request::<SERVICE>(&delivery.message)? else { return Ok(Outcome::Skipped) };
    let answer = judge(SERVICE, &delivery.message);
    once(books, delivery, async |mut tx| match reply::<B, SERVICE>(books, &mut tx, request, answer).await? {
        Some(reply) if answer != Answer::Silent => books.enqueue(&mut tx, &[reply]).await,
        _ => Ok(()),
    })
    .await
}

async fn reply<B: Books, const SERVICE: char>(
    books: &B,
    tx: &mut Scoped<B::Tx>,
    request: Request,
    answer: Answer,
) -> Result<Option<Message>, Error> {
    let events = EventSource::new(service(SERVICE), Clock::system());
    let reply = match request {
        Request::Nothing => return Ok(None),
        Request::Do(run) => {
            let ok = perform(books, tx, &run, SERVICE, answer).await?;
            events.message(&Did::<SERVICE>(run, ok))
        }
        Request::Undo(run) => {
            let ok = undo(books, tx, &run, SERVICE, answer).await?;
            events.message(&Undid::<SERVICE>(run, ok))
        }
    };
    reply.map(Some)
}

fn request<const SERVICE: char>(message: &Message) -> Result<Option<Request>, Error> {
    if let Some(command) = read::<Do<SERVICE>>(message)? {
        return Ok(Some(Request::Do(command.0)));
    }
    if let Some(command) = read::<Undo<SERVICE>>(message)? {
        return Ok(Some(Request::Undo(command.0)));
    }
    let after = |(run, ok): (String, bool)| if ok { Request::Do(run) } else { Request::Nothing };
    let event = match SERVICE {
        PAYMENT => read::<Placed>(message)?.map(|placed| (placed.0, true)),
        STOCK => read::<Did<PAYMENT>>(message)?.map(|did| (did.0, did.1)),
        _ => read::<Did<STOCK>>(message)?.map(|did| (did.0, did.1)),
    };
    Ok(event.map(after))
}

fn read<E: Event + Serialize + DeserializeOwned>(message: &Message) -> Result<Option<E>, Error> {
    event::read(message)
}

/// The topic of the event after which a service acts by itself.
pub const fn trigger(letter: char) -> &'static str {
    match letter {
        PAYMENT => Placed::TYPE,
        STOCK => Did::<PAYMENT>::TYPE,
        _ => Did::<STOCK>::TYPE,
    }
}

pub const SERVICES: [char; 3] = [PAYMENT, STOCK, SHIPPING];
