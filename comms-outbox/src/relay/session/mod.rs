//! One session of the relay: from taking the lease to losing or releasing it.
//!
//! A failure of the database ends the session, and the next session begins with the stored state. So there is one way
//! of recovery, and a crash takes it too. A refusal by the publisher does not end the session: it holds a topic, which
//! gets a branch.
//!
//! # Files, in the order of the data
//! - `state`: the state of a session, which the other files extend with methods.
//! - `begin`: takes the lease and restores the stored branches.
//! - `run`: the loop, which calls the next steps.
//! - `read`: reads a page, and keeps the rows that are to be delivered.
//! - `publish`: hands rows to the publisher.
//! - `settle`: processes the publisher's results; `park`: parks rows.
//! - `release`: delivers parked rows after their release.
//! - `join`: joins branches that have caught up with the main track.
//! - `save`: stores position, branches, parked rows and lease; `status`: reports metrics and readiness.
//! - `finish`: drains and stores the last position.

mod begin;
mod finish;
mod join;
mod park;
mod publish;
mod read;
mod release;
mod run;
mod save;
mod settle;
mod state;
mod status;

pub(super) use state::{End, Session};
