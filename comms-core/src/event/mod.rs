//! Typed events: a name with a major version, an ordering key and a payload.
//!
//! [`Event`] defines the name, the version and the key of an event. Other types add the rest: [`Codec`] encodes the
//! payload, [`EventSource`] makes messages, [`Versions`] reads older versions through upcasters, [`Schema`] describes
//! the payload, [`Registry`] lists the events of an application, and [`compat`] and [`GoldenFiles`] find changes that break
//! a reader or a writer.

mod codec;
pub mod compat;
mod definition;
mod golden;
mod read;
mod registry;
mod schema;
mod setup_error;
mod source;
mod type_header;
mod versions;

pub use codec::{Codec, Json};
pub use definition::{Event, split_type, type_name};
pub use golden::GoldenFiles;
pub use read::{decode, is, read};
pub use registry::{AnyEvent, Decoded, Description, Registry};
pub use schema::{Field, Record, Schema, Shape};
pub use setup_error::SetupError;
pub use source::EventSource;
pub use type_header::NewerVersion;
pub(crate) use type_header::is_envelope;
pub use versions::{Versions, VersionsBuilder};

#[cfg(test)]
mod tests;
