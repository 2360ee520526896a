//! One handler for three versions of an event, and a check that finds incompatible changes.
//!
//! The problem: a topic keeps events of every version that was ever published, and producers and consumers are deployed
//! at different times.
//!
//! The solution: upcasters turn older payloads into the newest version, a newer version is held until its consumer is
//! deployed, and `compare` reports changes of a schema that would break readers or writers.
//!
//! `cargo run -p examples --example event_versions`: needs nothing else.

use comms_core::{
    Error, Message,
    clock::Clock,
    cloudevents::{CloudEvent, Limits, json as envelope},
    event::{
        self, Decoded, Event, EventSource, Registry, Schema, Shape, Versions,
        compat::{Compatibility, compare},
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Version 1 had `id` and a price in whole units, version 2 has cents, version 3 has the currency.
#[derive(Debug, Serialize, Deserialize)]
struct OrderPlaced {
    order_id: String,
    cents: i64,
    currency: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    coupon: Option<String>,
}

impl Event for OrderPlaced {
    const TYPE: &'static str = "order.placed";
    const VERSION: u32 = 3;
    fn key(&self) -> String {
        self.order_id.clone()
    }
}

impl Schema for OrderPlaced {
    fn shape() -> Shape {
        released().optional("coupon", Shape::String).into()
    }
}

/// The schema as it was when version 3 went out; a service keeps it in a golden file (`event::Golden`).
fn released() -> event::Record {
    Shape::record()
        .required("order_id", Shape::String)
        .required("cents", Shape::Integer)
        .required("currency", Shape::String)
}

fn v1_to_v2(old: Value) -> Result<Value, Error> {
    let price = old["price"].as_i64().ok_or_else(|| Error::invalid("price is no number"))?;
    Ok(json!({ "order_id": old["id"], "cents": price.saturating_mul(100) }))
}

fn v2_to_v3(mut old: Value) -> Result<Value, Error> {
    old["currency"] = json!("EUR");
    Ok(old)
}

fn main() -> anyhow::Result<()> {
    let json = Versions::<OrderPlaced>::json;
    if let Err(gap) = json().upcast(1, v1_to_v2).build() {
        println!("a chain with a gap: {gap}");
    }
    let versions = json().upcast(1, v1_to_v2).upcast(2, v2_to_v3).with_schema().build()?;

    // `transactional_versions(unit, versions, handler)` does the same for a handler.
    println!("\nevents of four versions in one topic:");
    let registry = Registry::new().register(versions.clone())?;
    for (version, payload) in [
        (1, r#"{"id":"order-1","price":42}"#),
        (2, r#"{"order_id":"order-2","cents":1300}"#),
        (3, r#"{"order_id":"order-3","cents":700,"currency":"USD","coupon":"SPRING"}"#),
        (4, r#"{"order_id":"order-4","cents":700,"currency":"USD"}"#),
    ] {
        match registry.decode(&stored(version, payload)?) {
            Decoded::Event(event) => println!("  v{version}: {:?}", event.downcast::<OrderPlaced>()),
            Decoded::Undecodable(error) => println!("  v{version}: {}", error.chain()),
            Decoded::Unknown => println!("  v{version}: another event"),
        }
    }

    println!("\nan optional field was added:");
    let old = Shape::from(released());
    let fine = compare("order.placed.v3", &old, &OrderPlaced::shape(), Compatibility::Full);
    println!("  {}", fine.map_or_else(|report| report.to_string(), |()| "compatible, both ways".into()));

    println!("\na field was renamed, and another field has a new type:");
    let careless = Shape::record()
        .required("order_id", Shape::String)
        .required("amount", Shape::Integer)
        .required("currency", Shape::one_of(["EUR", "USD"]));
    let broken = compare("order.placed.v3", &old, &careless.into(), Compatibility::Backward);
    println!("{}", broken.err().ok_or_else(|| anyhow::anyhow!("this must not be compatible"))?);

    println!("the same event as a CloudEvents JSON envelope:");
    let event = OrderPlaced { order_id: "order-5".into(), cents: 5, currency: "EUR".into(), coupon: None };
    let message = versions.message(&EventSource::new("shop", Clock::system()), &event)?;
    let event = CloudEvent::from_message(&message, &Limits::default())?;
    println!("  {}", String::from_utf8_lossy(&envelope::encode(&event)?));
    Ok(())
}

/// A message of an older or newer producer.
fn stored(version: u32, payload: &'static str) -> Result<Message, Error> {
    let event = CloudEvent::new("shop", &format!("{}.v{version}", OrderPlaced::TYPE), &Clock::system())?;
    Ok(event.with_data("application/json", payload)?.into_message(OrderPlaced::TYPE))
}
