//! `POST /v1/orders` places an order, `GET /v1/orders/{order_id}` shows one.

use std::sync::Arc;

use axum::{
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use comms_core::{
    Error,
    idempotency::{KEY_LIMIT, is_key},
    wire,
};
use comms_grpc::keyed;
use garde::Validate;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Gateway, reply};
use crate::{
    contracts::{Money, order::proto as orders},
    platform::http::{Json, Principal, Problem},
};

/// `POST /v1/orders`: answers 202 with the order's URL when the order, its event and the stored reply are committed.
pub(super) async fn place(
    State(gateway): State<Arc<Gateway>>,
    Principal(buyer_id): Principal,
    headers: HeaderMap,
    body: Result<Json<NewOrder>, Problem>,
) -> Result<Response, Problem> {
    let key = idempotency_key(&headers)?;
    let Json(order) = body?;
    let request = orders::PlaceOrderRequest {
        buyer_id,
        ad_id: order.ad_id,
        quantity: order.quantity,
        unit_price: Some(orders::Money { minor: order.price.minor, currency: order.price.currency }),
    };
    let request = keyed(tonic::Request::new(request), key)?;
    let reply = reply(gateway.orders.clone().place_order(request).await)?;
    let order = reply.order.ok_or_else(|| Error::internal("order-service replied without an order"))?;
    let location = url(&order.order_id);
    let response = (StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(OrderBody::from(order)));
    Ok(marked(response.into_response(), reply.replayed))
}

/// `GET /v1/orders/{order_id}`: returns an order of the principal, and 404 for the order of another buyer.
pub(super) async fn show(
    State(gateway): State<Arc<Gateway>>,
    Principal(buyer_id): Principal,
    order_id: Result<Path<String>, PathRejection>,
) -> Result<Json<OrderBody>, Problem> {
    let request = orders::GetOrderRequest { buyer_id, order_id: parse_id(order_id)? };
    let order = reply(gateway.orders.clone().get_order(request).await)?;
    Ok(Json(order.into()))
}

/// Returns the order id of a path. A path that is not a UUID is 404, as the id of an order that does not exist.
pub(super) fn parse_id(order_id: Result<Path<String>, PathRejection>) -> Result<String, Error> {
    let id = order_id.ok().and_then(|Path(text)| Uuid::try_parse(&text).ok());
    Ok(id.ok_or_else(|| Error::not_found("no such order"))?.to_string())
}

/// Marks `response` as a stored reply if it is `replayed`.
pub(super) fn marked(mut response: Response, replayed: bool) -> Response {
    if replayed {
        response.headers_mut().insert(wire::IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// Returns the Idempotency-Key. It may be quoted, as in the IETF draft (a structured field), or a plain text.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<&str, Problem> {
    let refusal = |detail: &str| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "idempotency-key",
            "Idempotency-Key is missing or malformed",
            detail,
        )
    };
    let mut sent = headers.get_all(wire::IDEMPOTENCY_KEY).iter();
    let (Some(header), None) = (sent.next(), sent.next()) else {
        return Err(refusal(
            "Send one Idempotency-Key header: a new UUID for each order or ad, the same UUID at each retry.",
        ));
    };
    let text = header.to_str().unwrap_or_default().trim();
    let key = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
    if !is_key(key) {
        return Err(refusal(&format!("The key must have 1 to {KEY_LIMIT} printable ASCII characters.")));
    }
    Ok(key)
}

/// The body of `POST /v1/orders`.
#[derive(Debug, Deserialize, Validate)]
pub(super) struct NewOrder {
    /// The ad that is ordered.
    #[garde(length(min = 1, max = 100), custom(identifier))]
    ad_id: String,
    /// The number of pieces.
    #[garde(range(min = 1, max = 1_000))]
    quantity: u32,
    /// The price of one piece.
    #[garde(dive)]
    price: Price,
}

/// Money in a request. The checks are stricter than those of an event, whose money is taken as it was published.
#[derive(Debug, Deserialize, Validate)]
pub(super) struct Price {
    #[garde(range(min = 1))]
    pub(super) minor: i64,
    #[garde(custom(known_currency))]
    pub(super) currency: String,
}

/// Checks that `text` has only letters, digits, `-` and `_`.
pub(super) fn identifier(text: &str, _: &()) -> garde::Result {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    match text.bytes().all(plain) {
        true => Ok(()),
        false => Err(garde::Error::new("only letters, digits, - and _ are allowed")),
    }
}

fn known_currency(code: &str, _: &()) -> garde::Result {
    match Money::is_currency(code) {
        true => Ok(()),
        false => Err(garde::Error::new("must be a currency code of ISO 4217, such as RUB")),
    }
}

/// An order in a response.
#[derive(Serialize)]
pub(super) struct OrderBody {
    order_id: String,
    ad_id: String,
    quantity: u32,
    price: Money,
    total: Money,
    status: String,
    sequence: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    created_at: String,
    updated_at: String,
    links: Links,
}

#[derive(Serialize)]
struct Links {
    #[serde(rename = "self")]
    own: String,
}

impl From<orders::Order> for OrderBody {
    fn from(order: orders::Order) -> Self {
        let money = |money: Option<orders::Money>| {
            let money = money.unwrap_or_default();
            Money { minor: money.minor, currency: money.currency }
        };
        Self {
            links: Links { own: url(&order.order_id) },
            order_id: order.order_id,
            ad_id: order.ad_id,
            quantity: order.quantity,
            price: money(order.unit_price),
            total: money(order.total),
            status: order.status,
            sequence: order.sequence,
            payment_id: order.payment_id,
            reason: order.reason,
            created_at: order.created_at,
            updated_at: order.updated_at,
        }
    }
}

fn url(order_id: &str) -> String {
    format!("/v1/orders/{order_id}")
}
