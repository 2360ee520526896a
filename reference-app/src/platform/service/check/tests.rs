use comms_core::Error;

use super::*;
use crate::{
    platform::service::{Call, Database, Host, Parts, Protocol, Subscription, Topic, no_settings},
    services,
};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate::Migrator::DEFAULT;

fn start(_: &Host<'_>) -> Result<Parts, Error> {
    Ok(Parts::default())
}

/// A service that can be added to the services of the marketplace.
fn refunds() -> Service {
    Service {
        name: "refunds",
        about: "Refunds.",
        source: "refund-service",
        defaults: "[policies.refunds_payment]\ntimeout = \"1s\"",
        check: no_settings,
        shown: &[],
        protocol: Some(Protocol::Grpc),
        database: Some(Database { schema: "refund_service", migrations: &MIGRATIONS }),
        topics: &[Topic { name: "refund.status.changed", partitions: 6 }],
        subscriptions: &[Subscription { group: "refund-orders", topic: "order.status.changed" }],
        calls: &[Call { service: "payment", policy: "refunds_payment" }],
        refers_to: &["gateway"],
        start,
    }
}

fn refused(change: impl FnOnce(&mut Service)) -> String {
    let mut service = refunds();
    change(&mut service);
    let mut all = services::ALL.to_vec();
    all.push(&service);
    check(&all).unwrap_err().chain().to_string()
}

#[test]
fn the_services_of_the_marketplace_and_one_more_pass_the_checks() {
    check(services::ALL).unwrap();
    let service = refunds();
    check(&[services::ALL, &[&service]].concat()).unwrap();
}

#[test]
fn a_violated_rule_is_reported_with_the_services_concerned() {
    type Change = fn(&mut Service);
    let table: [(Change, &[&str]); 22] = [
        (|s| s.name = "order", &["name order", "two services"]),
        (|s| s.name = "kafka", &["kafka", "reserved"]),
        (|s| s.name = "Re funds", &["its name is reserved, or is not a lowercase letter"]),
        (|s| s.name = "re-funds", &["its name is reserved"]),
        (|s| s.name = "refunds__", &["its name is reserved"]),
        (|s| s.name = "test", &["its name is reserved"]),
        (|s| s.name = "2nd", &["its name is reserved"]),
        (
            |s| s.database = Some(Database { schema: "../refunds", migrations: &MIGRATIONS }),
            &["schema \"../refunds\" must have"],
        ),
        (|s| s.defaults = "[gateway]\nlisten = \"0.0.0.0:1\"", &["its defaults set gateway"]),
        (|s| s.defaults = "profile = \"full\"", &["its defaults set profile"]),
        (
            |s| s.defaults = "[policies.order]\ntimeout = \"1h\"",
            &["its defaults set policies.order, which guards none of its calls"],
        ),
        (
            |s| s.calls = &[Call { service: "payment", policy: "refunds-payment" }],
            &["its policy \"refunds-payment\" is not a lowercase letter"],
        ),
        (|s| s.defaults = "", &["its defaults have no policies.refunds_payment for the calls to payment"]),
        (
            |s| {
                s.calls = &[
                    Call { service: "payment", policy: "refunds_payment" },
                    Call { service: "payment", policy: "refunds_other" },
                ];
                s.defaults = "[policies.refunds_payment]\n[policies.refunds_other]";
            },
            &["it registers two calls to one service"],
        ),
        (|s| s.source = "order-service", &["source order-service"]),
        (|s| s.database = Some(Database { schema: "order_service", migrations: &MIGRATIONS }), &["schema"]),
        (
            |s| s.topics = &[Topic { name: "order.status.changed", partitions: 6 }],
            &["topic", "order and refunds"],
        ),
        (
            |s| s.subscriptions = &[Subscription { group: "order-payments", topic: "order.status.changed" }],
            &["consumer group order-payments", "order and refunds"],
        ),
        (
            |s| s.subscriptions = &[Subscription { group: "g", topic: "courier.moved" }],
            &["no service owns the topic courier.moved", "group g"],
        ),
        (
            |s| {
                s.calls = &[Call { service: "gateway", policy: "g" }];
                s.defaults = "[policies.g]";
            },
            &["calls gateway", "no gRPC listener"],
        ),
        (
            |s| s.calls = &[Call { service: "payment", policy: "payment" }],
            &["policy payment", "two services"],
        ),
        (|s| s.database = None, &["needs a database"]),
    ];
    for (change, parts) in table {
        let text = refused(change);
        assert!(parts.iter().all(|part| text.contains(part)), "{parts:?} is not in: {text}");
    }
}
