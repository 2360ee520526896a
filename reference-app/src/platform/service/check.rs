//! What must hold between services, seen from their registrations alone.

use std::collections::BTreeMap;

use comms_core::Error;

use super::Service;
use crate::platform::config::RESERVED;

/// Checks the registrations of all services of the system, whichever roles run in this process.
///
/// # Errors
/// Returns `Internal` for the first rule that is broken: names, sources, schemas and groups are unique; a name is no
/// section of the platform; a topic has one owner; every topic that is read, and every service that is called or
/// referred to, exists; a call goes to a gRPC listener; a policy belongs to one service.
pub fn check(services: &[&Service]) -> Result<(), Error> {
    let all = || services.iter().copied();
    unique("name", all().map(|service| (service.name, service)))?;
    unique("source", all().map(|service| (service.source, service)))?;
    unique("schema", all().filter_map(|service| Some((service.database.as_ref()?.schema, service))))?;
    let groups = all().flat_map(|service| service.subscriptions.iter().map(move |one| (one.group, service)));
    unique("consumer group", groups)?;
    let owners =
        unique("topic", all().flat_map(|service| service.topics.iter().map(move |t| (t.name, service))))?;
    unique("policy", all().flat_map(|service| service.calls.iter().map(move |call| (call.policy, service))))?;
    for service in all() {
        let broken = |what: String| Err(Error::internal(format!("service {}: {what}", service.name)));
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if service.name.is_empty() || !service.name.bytes().all(plain) || RESERVED.contains(&service.name) {
            return broken(
                "its name is empty, reserved, or not of lower-case letters, digits and -".to_owned(),
            );
        }
        if service.database.is_none() && !(service.topics.is_empty() && service.subscriptions.is_empty()) {
            return broken("a service with topics or subscriptions needs a database".to_owned());
        }
        if let Some(one) = service.subscriptions.iter().find(|one| !owners.contains_key(one.topic)) {
            return broken(format!("no service owns the topic {} of its group {}", one.topic, one.group));
        }
        let named = |name: &str| all().find(|other| other.name == name);
        if let Some(call) = service.calls.iter().find(|call| {
            named(call.service).is_none_or(|other| other.protocol != Some(super::Protocol::Grpc))
        }) {
            return broken(format!("it calls {}, which has no gRPC listener", call.service));
        }
        if let Some(name) =
            service.refers_to.iter().find(|name| named(name).is_none_or(|o| o.protocol.is_none()))
        {
            return broken(format!("it refers to {name}, which has no listener"));
        }
    }
    Ok(())
}

/// The owners by what they own.
fn unique<'a>(
    what: &str,
    owned: impl Iterator<Item = (&'a str, &'a Service)>,
) -> Result<BTreeMap<&'a str, &'a Service>, Error> {
    let mut owners = BTreeMap::<&str, &Service>::new();
    for (name, service) in owned {
        if let Some(first) = owners.insert(name, service) {
            let text =
                format!("the {what} {name} belongs to two services: {} and {}", first.name, service.name);
            return Err(Error::internal(text));
        }
    }
    Ok(owners)
}

#[cfg(test)]
mod tests;
