//! `GET /v1/orders/{order_id}/history`: the events of one of the principal's orders.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use comms_core::Error;
use serde::Serialize;

use super::{Gateway, orders::parse_id, reply};
use crate::{
    contracts::order::proto as orders,
    platform::http::{Principal, Problem},
};

/// The body of the response.
#[derive(Serialize)]
pub(super) struct History {
    /// The events, from version 1 on.
    events: Vec<Event>,
}

#[derive(Serialize)]
struct Event {
    version: u64,
    r#type: String,
    time: String,
    actor: Actor,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    data: serde_json::Value,
}

/// The principal that caused an event.
#[derive(Serialize)]
struct Actor {
    r#type: String,
    id: String,
}

/// Returns the events of an order of the principal, and 404 for the order of another buyer.
pub(super) async fn show(
    State(gateway): State<Arc<Gateway>>,
    Principal(buyer_id): Principal,
    order_id: Result<Path<String>, PathRejection>,
) -> Result<Json<History>, Problem> {
    let request = orders::GetOrderHistoryRequest { buyer_id, order_id: parse_id(order_id)? };
    let reply = reply(gateway.orders.clone().get_order_history(request).await)?;
    let events = reply.events.into_iter().map(Event::try_from).collect::<Result<_, _>>()?;
    Ok(Json(History { events }))
}

impl TryFrom<orders::HistoryEvent> for Event {
    type Error = Error;

    fn try_from(event: orders::HistoryEvent) -> Result<Self, Error> {
        Ok(Self {
            version: event.version,
            r#type: event.r#type,
            time: event.time,
            actor: Actor { r#type: event.actor_type, id: event.actor_id },
            why: event.why,
            data: serde_json::from_str(&event.data).map_err(Error::internal)?,
        })
    }
}
