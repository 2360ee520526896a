//! `GET /v1/orders`: one page of the principal's own orders.

use std::sync::Arc;

use axum::{
    Json,
    extract::{RawQuery, State},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Serialize;
use uuid::Uuid;

use super::{Gateway, orders::OrderBody};
use crate::{
    contracts::order::{MAX_PAGE, proto as orders},
    platform::http::{FieldError, Principal, Problem},
};

/// The orders of a page whose request names no limit.
const DEFAULT_LIMIT: u32 = 20;

#[derive(Serialize)]
pub(super) struct Page {
    orders: Vec<OrderBody>,
    /// The `cursor` of the next page; null on the last one.
    next: Option<String>,
}

/// `GET /v1/orders?limit=20&cursor=...`: newest first.
pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Principal(buyer_id): Principal,
    RawQuery(query): RawQuery,
) -> Result<Json<Page>, Problem> {
    let (limit, before) = read(&query.unwrap_or_default()).map_err(Problem::fields)?;
    let request = orders::ListOrdersRequest { buyer_id, limit, before: before.map(|id| id.to_string()) };
    let list = |mut orders: orders::orders_client::OrdersClient<_>| {
        let request = request.clone();
        async move { orders.list_orders(request).await }
    };
    let reply = gateway.ask(list).await?;
    let next = reply.next.as_deref().map(cursor).transpose()?;
    Ok(Json(Page { orders: reply.orders.into_iter().map(OrderBody::from).collect(), next }))
}

/// The limit and the position of a query. An unknown or repeated parameter is refused: a client that misspells
/// `cursor` would read the first page for ever.
fn read(query: &str) -> Result<(u32, Option<Uuid>), Vec<FieldError>> {
    let (mut limit, mut before, mut errors) = (None, None, Vec::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let result = match name.as_ref() {
            "limit" => set(&mut limit, parse_limit(&value)),
            "cursor" => set(&mut before, position(&value)),
            _ => Err("There is no such parameter; there are limit and cursor.".to_owned()),
        };
        if let Err(detail) = result {
            errors.push(FieldError::new(format!("/{}", name.replace('~', "~0").replace('/', "~1")), detail));
        }
    }
    match errors.is_empty() {
        true => Ok((limit.unwrap_or(DEFAULT_LIMIT), before)),
        false => Err(errors),
    }
}

fn set<T>(slot: &mut Option<T>, value: Result<T, String>) -> Result<(), String> {
    match slot.replace(value?) {
        None => Ok(()),
        Some(_) => Err("Send this parameter once.".to_owned()),
    }
}

fn parse_limit(text: &str) -> Result<u32, String> {
    let limit = text.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit));
    limit.ok_or_else(|| format!("A number from 1 to {MAX_PAGE} is needed."))
}

/// A cursor is the last order id of a page, in a form that invites no client to make one.
fn cursor(order_id: &str) -> Result<String, Problem> {
    let id = Uuid::try_parse(order_id).map_err(comms_core::Error::internal)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(id.as_bytes()))
}

fn position(cursor: &str) -> Result<Uuid, String> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok();
    let id = bytes.and_then(|bytes| Uuid::from_slice(&bytes).ok());
    id.ok_or_else(|| "This is no cursor of this list: send `next` of the previous page unchanged.".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(query: &str) -> Vec<String> {
        read(query).unwrap_err().into_iter().map(|error| error.pointer).collect()
    }

    #[test]
    fn a_cursor_names_the_order_that_it_was_made_of() {
        let id = Uuid::from_u128(0x0193_7a00_0000_7000_8000_0000_0000_0001);
        let text = cursor(&id.to_string()).unwrap();
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{text}");
        assert_eq!(read(&format!("limit=7&cursor={text}")).unwrap(), (7, Some(id)));
        assert_eq!(read("").unwrap(), (DEFAULT_LIMIT, None));
    }

    #[test]
    fn a_query_that_cannot_be_read_is_refused_by_parameter() {
        for limit in ["", "0", "101", "-1", "1.5", "twenty", "4294967297", "1&limit=2"] {
            assert_eq!(refused(&format!("limit={limit}")), ["/limit"], "{limit}");
        }
        let id = "0193c3a0-0000-7000-8000-000000000001";
        for cursor in ["", "x", "AAAA", "%00", "AZN6AAAAcACAAAAAAAAAAQ==", "AZN6AAAAcACAAAAAAAAAAR", id] {
            assert_eq!(refused(&format!("cursor={cursor}")), ["/cursor"], "{cursor}");
        }
        assert_eq!(refused("page=2"), ["/page"]);
        assert_eq!(refused("Limit=2&cursor=x"), ["/Limit", "/cursor"]);
        assert_eq!(refused("a/b~=2"), ["/a~1b~0"]);
        assert_eq!(Problem::fields(read(&"a&".repeat(4_000)).unwrap_err()).errors().len(), 32);
    }
}
