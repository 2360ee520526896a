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

/// The number of orders on a page if the request names no limit.
const DEFAULT_LIMIT: u32 = 20;

/// The body of the response.
#[derive(Serialize)]
pub(super) struct Page {
    orders: Vec<OrderBody>,
    /// The `cursor` of the next page; null on the last page.
    next: Option<String>,
    /// Whether the page contains every change that was committed before the request.
    up_to_date: bool,
}

/// `GET /v1/orders?limit=20&cursor=...`: returns a page of orders, newest first.
pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Principal(buyer_id): Principal,
    RawQuery(query): RawQuery,
) -> Result<Json<Page>, Problem> {
    let (limit, before) = parse_query(&query.unwrap_or_default()).map_err(Problem::fields)?;
    let request = orders::ListOrdersRequest { buyer_id, limit, before: before.map(|id| id.to_string()) };
    let list = |mut orders: orders::orders_client::OrdersClient<_>| {
        let request = request.clone();
        async move { orders.list_orders(request).await }
    };
    let reply = gateway.call_order(list).await?;
    let next = reply.next.as_deref().map(encode_cursor).transpose()?;
    let orders = reply.orders.into_iter().map(OrderBody::from).collect();
    Ok(Json(Page { orders, next, up_to_date: reply.up_to_date }))
}

/// Returns the limit, and the order id before which the page begins. Refuses an unknown or repeated parameter: a client
/// that misspells `cursor` would read the first page again and again.
fn parse_query(query: &str) -> Result<(u32, Option<Uuid>), Vec<FieldError>> {
    let (mut limit, mut before, mut errors) = (None, None, Vec::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let result = match name.as_ref() {
            "limit" => set_once(&mut limit, parse_limit(&value)),
            "cursor" => set_once(&mut before, decode_cursor(&value)),
            _ => Err("This parameter does not exist. The parameters are limit and cursor.".to_owned()),
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

fn set_once<T>(slot: &mut Option<T>, value: Result<T, String>) -> Result<(), String> {
    match slot.replace(value?) {
        None => Ok(()),
        Some(_) => Err("Send this parameter once.".to_owned()),
    }
}

fn parse_limit(text: &str) -> Result<u32, String> {
    let limit = text.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit));
    limit.ok_or_else(|| format!("Send a number from 1 to {MAX_PAGE}."))
}

/// Encodes the last order id of a page. The cursor is opaque: clients send it back and do not build one.
fn encode_cursor(order_id: &str) -> Result<String, Problem> {
    let id = Uuid::try_parse(order_id).map_err(comms_core::Error::internal)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(id.as_bytes()))
}

fn decode_cursor(cursor: &str) -> Result<Uuid, String> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok();
    let id = bytes.and_then(|bytes| Uuid::from_slice(&bytes).ok());
    id.ok_or_else(|| {
        "This is not a cursor of this list. Send `next` of the previous page unchanged.".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(query: &str) -> Vec<String> {
        parse_query(query).unwrap_err().into_iter().map(|error| error.pointer).collect()
    }

    #[test]
    fn a_cursor_decodes_to_the_order_id_that_was_encoded() {
        let id = Uuid::from_u128(0x0193_7a00_0000_7000_8000_0000_0000_0001);
        let text = encode_cursor(&id.to_string()).unwrap();
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{text}");
        assert_eq!(parse_query(&format!("limit=7&cursor={text}")).unwrap(), (7, Some(id)));
        assert_eq!(parse_query("").unwrap(), (DEFAULT_LIMIT, None));
    }

    #[test]
    fn each_parameter_that_is_unknown_repeated_or_malformed_has_an_error() {
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
        assert_eq!(Problem::fields(parse_query(&"a&".repeat(4_000)).unwrap_err()).errors().len(), 32);
    }
}
