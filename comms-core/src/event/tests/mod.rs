//! The fixtures of the event tests.

mod compat;
mod golden;
mod read;
mod registry;
mod versions;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;
use crate::{Error, ErrorKind, Message, MessageParts, clock::Clock, wire};

/// Version 3. Version 2 has `cents` and no `currency`. Version 1 has `id` for the order and a `price` as text.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Placed {
    order_id: String,
    cents: i64,
    currency: String,
}

impl Event for Placed {
    const TYPE: &'static str = "order.placed";
    const VERSION: u32 = 3;
    fn key(&self) -> String {
        self.order_id.clone()
    }
}

impl Schema for Placed {
    fn shape() -> Shape {
        let record = Shape::record().required("order_id", Shape::String).required("cents", Shape::Integer);
        record.required("currency", Shape::String).into()
    }
}

fn v1_to_v2(mut old: Value) -> Result<Value, Error> {
    let price = old["price"].as_str().and_then(|p| p.parse::<i64>().ok());
    let cents = price.ok_or_else(|| Error::invalid("price is not a number"))?.saturating_mul(100);
    Ok(json!({ "order_id": old["id"].take(), "cents": cents }))
}

fn v2_to_v3(mut old: Value) -> Result<Value, Error> {
    old["currency"] = json!("EUR");
    Ok(old)
}

fn versions() -> Versions<Placed> {
    Versions::json().upcast(1, v1_to_v2).upcast(2, v2_to_v3).with_schema().build().unwrap()
}

fn message(type_name: &str, payload: &str) -> Message {
    let event = Placed { order_id: "7".into(), cents: 1, currency: "EUR".into() };
    let message = EventSource::new("shop", Clock::system()).message(&event).unwrap();
    let message = message.with_headers(|headers| headers.insert(wire::CE_TYPE, type_name));
    Message::new(MessageParts { payload: Some(payload.as_bytes()), ..message.parts() })
}

/// An event with nine upcasters, so that a wrong order of the steps is detected.
struct Tenth;
impl Event for Tenth {
    const TYPE: &'static str = "tenth";
    const VERSION: u32 = 10;
    fn key(&self) -> String {
        String::new()
    }
}

/// A codec other than JSON.
struct Digits;
impl Codec<Tenth> for Digits {
    fn content_type(&self) -> &'static str {
        "text/x-digits"
    }
    fn encode(&self, _: &Tenth) -> Result<bytes::Bytes, Error> {
        Ok("10".into())
    }
    fn decode(&self, payload: &[u8]) -> Result<Tenth, Error> {
        if payload == b"10" { Ok(Tenth) } else { Err(Error::invalid("not ten")) }
    }
}
