//! The event trait and the type names on the wire.

/// An event: a fact that other services rely on.
///
/// The trait holds the name, the version and the key. The encoding ([`Codec`](super::Codec)) and the schema
/// ([`Schema`](super::Schema)) are separate traits.
///
/// ```
/// use comms_core::event::{self, Event};
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct OrderPlaced { order_id: String }
/// impl Event for OrderPlaced {
///     const TYPE: &'static str = "order.placed";
///     const VERSION: u32 = 1;
///     fn key(&self) -> String { self.order_id.clone() }
/// }
/// assert_eq!(event::type_name::<OrderPlaced>(), "order.placed.v1");
/// ```
pub trait Event: Send + 'static {
    /// The name of the event without its version: visible ASCII, separated by dots, as in `order.status.changed`. The
    /// default topic of the event's messages.
    const TYPE: &'static str;
    /// The major version of the event, from 1. A change that older readers cannot decode needs a new major version.
    const VERSION: u32;
    /// Returns the ordering key, usually the id of the entity that the event is about. Events with the same key keep
    /// their order.
    fn key(&self) -> String;
}

/// Returns the type name on the wire, such as `order.status.changed.v1`.
///
/// An event with an empty name, a name that is not visible ASCII, or version 0 does not compile:
///
/// ```compile_fail
/// struct Placed;
/// impl comms_core::event::Event for Placed {
///     const TYPE: &'static str = "order.placed";
///     const VERSION: u32 = 0;
///     fn key(&self) -> String { String::new() }
/// }
/// comms_core::event::type_name::<Placed>();
/// ```
#[must_use]
pub fn type_name<E: Event>() -> String {
    const { assert_valid::<E>() }
    format!("{}.v{}", E::TYPE, E::VERSION)
}

/// Splits a type name on the wire into the event's name and its major version: `order.placed.v2` gives
/// (`order.placed`, 2).
///
/// Returns `None` if the name does not end in a version. A version is a decimal number from 1 to `u32::MAX` without
/// sign and without leading zeros.
#[must_use]
pub fn split_type(type_name: &str) -> Option<(&str, u32)> {
    let (name, version) = type_name.rsplit_once(".v")?;
    if name.is_empty() || !is_version_number(version) {
        return None;
    }
    Some((name, version.parse().ok()?))
}

/// Fails the compilation if the event's type name cannot be read back from the wire.
pub(super) const fn assert_valid<E: Event>() {
    assert!(
        is_valid_type(E::TYPE, E::VERSION),
        "Event::TYPE must be non-empty visible ASCII, and Event::VERSION at least 1"
    );
}

/// Returns whether `name` is non-empty visible ASCII and `version` is at least 1.
pub(super) const fn is_valid_type(name: &str, version: u32) -> bool {
    let (mut rest, mut visible) = (name.as_bytes(), !name.is_empty());
    while let [byte, tail @ ..] = rest {
        (rest, visible) = (tail, visible && byte.is_ascii_graphic());
    }
    visible && version > 0
}

/// Returns whether `version` is a decimal number from 1 without sign and without leading zeros.
pub(super) fn is_version_number(version: &str) -> bool {
    !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit()) && !version.starts_with('0')
}
