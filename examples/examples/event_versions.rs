//! Event versions: one handler for three versions of an event, and a check for incompatible schema changes.
//!
//! The problem: a topic keeps events of every version that was ever published, and producers and consumers are deployed
//! at different times.
//!
//! The solution: upcasters convert older payloads to the newest version. An event of a still newer version is held
//! until its consumer is deployed. `compare` reports the changes of a schema that would break consumers or producers.
//!
//! Prints events of four versions as the consumer decodes them, the report of an incompatible change, and an event as a
//! CloudEvents envelope.
//!
//! Run: `cargo run -p examples --example event_versions`. Nothing else is needed.

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

/// The newest version. Version 1 had `id` and a `price` in whole units. Version 2 had `order_id` and `cents`. Version 3
/// added `currency`.
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

/// The schema when version 3 was released. A service keeps it in a golden file (`event::GoldenFiles`).
fn released() -> event::Record {
    Shape::record()
        .required("order_id", Shape::String)
        .required("cents", Shape::Integer)
        .required("currency", Shape::String)
}

fn v1_to_v2(old: Value) -> Result<Value, Error> {
    let price = old["price"].as_i64().ok_or_else(|| Error::invalid("price is not a whole number"))?;
    Ok(json!({ "order_id": old["id"], "cents": price.saturating_mul(100) }))
}

fn v2_to_v3(mut old: Value) -> Result<Value, Error> {
    old["currency"] = json!("EUR");
    Ok(old)
}

fn main() -> anyhow::Result<()> {
    let json = Versions::<OrderPlaced>::json;
    if let Err(gap) = json().upcast(1, v1_to_v2).build() {
        println!("upcasters with a gap: {gap}");
    }
    let versions = json().upcast(1, v1_to_v2).upcast(2, v2_to_v3).with_schema().build()?;

    // A handler gets decoded events from `transactional_versions(unit, versions, handler)`.
    println!("\nevents of four versions in one topic:");
    let registry = Registry::new().register(versions.clone())?;
    for (version, payload) in [
        (1, r#"{"id":"order-1","price":42}"#),
        (2, r#"{"order_id":"order-2","cents":1300}"#),
        (3, r#"{"order_id":"order-3","cents":700,"currency":"USD","coupon":"SPRING"}"#),
        (4, r#"{"order_id":"order-4","cents":700,"currency":"USD"}"#),
    ] {
        match registry.decode(&published(version, payload)?) {
            Decoded::Event(event) => println!("  v{version}: {:?}", event.downcast::<OrderPlaced>()),
            Decoded::Undecodable(error) => println!("  v{version}: {}", error.chain()),
            Decoded::Unknown => println!("  v{version}: another event"),
        }
    }

    println!("\nan optional field is added:");
    let old = Shape::from(released());
    let added = compare("order.placed.v3", &old, &OrderPlaced::shape(), Compatibility::Full);
    println!(
        "  {}",
        added.map_or_else(|report| report.to_string(), |()| "compatible in both directions".into())
    );

    println!("\na field is renamed, and another field gets a new type:");
    let changed = Shape::record()
        .required("order_id", Shape::String)
        .required("amount", Shape::Integer)
        .required("currency", Shape::one_of(["EUR", "USD"]));
    let broken = compare("order.placed.v3", &old, &changed.into(), Compatibility::Backward);
    println!("{}", broken.err().ok_or_else(|| anyhow::anyhow!("the change must be incompatible"))?);

    println!("an event as a CloudEvents JSON envelope:");
    let event = OrderPlaced { order_id: "order-5".into(), cents: 5, currency: "EUR".into(), coupon: None };
    let message = versions.message(&EventSource::new("shop", Clock::system()), &event)?;
    let event = CloudEvent::from_message(&message, &Limits::default())?;
    println!("  {}", String::from_utf8_lossy(&envelope::encode(&event)?));
    Ok(())
}

/// Returns a message as a producer of `version` published it.
fn published(version: u32, payload: &'static str) -> Result<Message, Error> {
    let event = CloudEvent::new("shop", &format!("{}.v{version}", OrderPlaced::TYPE), &Clock::system())?;
    Ok(event.with_data("application/json", payload)?.into_message(OrderPlaced::TYPE))
}
