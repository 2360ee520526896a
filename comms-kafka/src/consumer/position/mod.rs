//! Positions of a group: where it starts, and how it is moved.
//!
//! - `start.rs`: the position that an application chooses. `offsets.rs`: its offsets.
//! - `requests.rs`: seeks of a running member, which the poll thread carries out.
//! - `seek.rs`: moves a group without members.

mod offsets;
mod requests;
mod seek;
mod start;

pub(super) use self::{
    offsets::{offsets, offsets_of},
    requests::{SeekOwner, Seeks},
};
pub use self::{seek::seek, start::Start};
