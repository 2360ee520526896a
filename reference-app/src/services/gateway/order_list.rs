//! `GET /v1/orders`: one page of the principal's own orders.

use std::sync::Arc;

use axum::{
    Json,
    extract::{RawQuery, State},
};
use serde::Serialize;
use uuid::Uuid;

use super::{
    Gateway,
    orders::OrderBody,
    paging::{encode_cursor, parse_query},
    reply,
};
use crate::{
    contracts::order::{MAX_PAGE, proto as orders},
    platform::http::{Principal, Problem},
};

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
    let query = parse_query(&query.unwrap_or_default(), MAX_PAGE, decode_order_id);
    let (limit, before) = query.map_err(Problem::fields)?;
    let request = orders::ListOrdersRequest { buyer_id, limit, before: before.map(|id| id.to_string()) };
    let reply = reply(gateway.orders.clone().list_orders(request).await)?;
    let next = reply.next.as_deref().map(encode_order_id).transpose()?;
    let orders = reply.orders.into_iter().map(OrderBody::from).collect();
    Ok(Json(Page { orders, next, up_to_date: reply.up_to_date }))
}

fn decode_order_id(cursor: Vec<u8>) -> Option<Uuid> {
    Uuid::from_slice(&cursor).ok()
}

/// Encodes the last order id of a page.
fn encode_order_id(order_id: &str) -> Result<String, Problem> {
    let id = Uuid::try_parse(order_id).map_err(comms_core::Error::internal)?;
    Ok(encode_cursor(id.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{platform::http::FieldError, services::gateway::paging::DEFAULT_LIMIT};

    fn parse(query: &str) -> Result<(u32, Option<Uuid>), Vec<FieldError>> {
        parse_query(query, MAX_PAGE, decode_order_id)
    }

    fn refused(query: &str) -> Vec<String> {
        parse(query).unwrap_err().into_iter().map(|error| error.pointer).collect()
    }

    #[test]
    fn a_cursor_decodes_to_the_order_id_that_was_encoded() {
        let id = Uuid::from_u128(0x0193_7a00_0000_7000_8000_0000_0000_0001);
        let text = encode_order_id(&id.to_string()).unwrap();
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{text}");
        assert_eq!(parse(&format!("limit=7&cursor={text}")).unwrap(), (7, Some(id)));
        assert_eq!(parse("").unwrap(), (DEFAULT_LIMIT, None));
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
        assert_eq!(Problem::fields(parse(&"a&".repeat(4_000)).unwrap_err()).errors().len(), 32);
    }
}
