//! Checks the registrations of all services against each other.

use std::collections::{BTreeMap, BTreeSet};

use comms_core::Error;

use super::Service;
use crate::platform::config::RESERVED;

/// Checks the registrations of all services of the system, regardless of the roles of this process.
///
/// # Errors
/// Returns `Internal` for the first violated rule:
/// - names, sources, schemas and consumer groups are unique;
/// - a name is not a section of the platform;
/// - the defaults set only the service's section and the policies of its calls;
/// - a topic has one owner, and every consumed topic has an owner;
/// - every called service has a gRPC listener, and every service referred to has a listener;
/// - a service calls another service under one policy, and a policy belongs to one service;
/// - a service with topics or subscriptions has a database.
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
        if !is_name(service.name) {
            let what = "its name is reserved, or is not a lowercase letter followed by lowercase letters, digits and \
                        single _";
            return broken(what.to_owned());
        }
        if let Some(database) = service.database.as_ref().filter(|database| !is_schema(database.schema)) {
            return broken(format!(
                "its schema {:?} must have 1 to 48 characters of a-z, 0-9 and _, and must not begin with a digit",
                database.schema
            ));
        }
        if let Some(call) = service.calls.iter().find(|call| !is_part(call.policy)) {
            return broken(format!(
                "its policy {:?} is not a lowercase letter followed by lowercase letters, digits and single _",
                call.policy
            ));
        }
        check_defaults(service).or_else(broken)?;
        if service.database.is_none() && !(service.topics.is_empty() && service.subscriptions.is_empty()) {
            return broken("a service with topics or subscriptions needs a database".to_owned());
        }
        if let Some(one) = service.subscriptions.iter().find(|one| !owners.contains_key(one.topic)) {
            return broken(format!(
                "no service owns the topic {} that its group {} consumes",
                one.topic, one.group
            ));
        }
        let callees = service.calls.iter().map(|call| call.service).collect::<BTreeSet<_>>();
        if callees.len() < service.calls.len() {
            return broken(
                "it registers two calls to one service: register one call, with one policy".to_owned(),
            );
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

/// Returns whether `name` can be a role and a section. Variables that begin with `COMMS_TEST_` belong to the tests.
fn is_name(name: &str) -> bool {
    is_part(name) && name != "test" && !name.starts_with("test_") && !RESERVED.contains(&name)
}

/// Returns whether `name` can be a part of an environment variable's name. A double or a trailing `_` would be
/// confused with the separator `__`.
fn is_part(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(plain)
        && !name.contains("__")
        && !name.ends_with('_')
}

/// Returns whether `schema` can be used in a statement without quotes, and as the name of a file.
fn is_schema(schema: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    (1..=48).contains(&schema.len())
        && schema.bytes().all(plain)
        && !schema.starts_with(|first: char| first.is_ascii_digit())
}

/// Rejects defaults that are not TOML, that set a key outside the service's section and policies (and would change
/// another service), or that lack a policy of one of the service's calls.
fn check_defaults(service: &Service) -> Result<(), String> {
    let defaults: toml::Table =
        service.defaults.parse().map_err(|error| format!("its defaults are not TOML: {error}"))?;
    let own = |policy: &String| service.calls.iter().any(|call| call.policy == policy);
    for (key, value) in &defaults {
        let policies = value.as_table().filter(|_| key == "policies");
        let foreign = policies.and_then(|policies| policies.keys().find(|policy| !own(policy)));
        if let Some(policy) = foreign {
            return Err(format!("its defaults set policies.{policy}, which guards none of its calls"));
        }
        if policies.is_none() && key != service.name {
            return Err(format!("its defaults set {key}, which is not its section"));
        }
    }
    let missing = service
        .calls
        .iter()
        .find(|call| defaults.get("policies").and_then(|policies| policies.get(call.policy)).is_none());
    missing.map_or(Ok(()), |call| {
        Err(format!("its defaults have no policies.{} for the calls to {}", call.policy, call.service))
    })
}

/// Returns the owner of each name.
///
/// # Errors
/// Returns `Internal` if two services own the same name.
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
