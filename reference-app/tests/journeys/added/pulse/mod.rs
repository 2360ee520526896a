//! A gRPC service without a database that no other service calls. It has a policy for calls of payment-service, and a
//! background loop that panics.

use comms_core::Error;
use reference_app::platform::service::{Call, Host, Loop, Parts, Protocol, Serves, Service, no_settings};
use tonic::service::Routes;

pub(super) static SERVICE: Service = Service {
    name: "pulse",
    about: "Checks that payment-service answers.",
    source: "pulse",
    defaults: include_str!("defaults.toml"),
    check: no_settings,
    shown: &[],
    protocol: Some(Protocol::Grpc),
    database: None,
    topics: &[],
    subscriptions: &[],
    calls: &[Call { service: "payment", policy: "pulse_payment" }],
    refers_to: &[],
    start,
};

fn start(host: &Host<'_>) -> Result<Parts, Error> {
    let payment = host.peer("payment")?;
    assert_eq!(payment.snapshot().policy.name, "pulse_payment");
    // The panic is in the function, before it returns a future.
    let run = Box::new(|_| panic!("a defect of the loop"));
    let loops = vec![Loop { name: "pulse", run }];
    Ok(Parts {
        serves: Serves::Grpc { name: "tests.Pulse", routes: Routes::default() },
        loops,
        ..Parts::default()
    })
}
