//! The conformance suite of [`IdempotencyStore`](crate::idempotency::IdempotencyStore): one run at a time under a
//! lease, and its reply for all other requests.

mod fixture;
mod leases;
mod requests;

use super::{Broken, check::Suite};
pub use fixture::StoreFixture;
pub use leases::{
    abandoned_request_runs_again, expired_lease_admits_another_run, late_abandon_keeps_the_next_lease,
    late_complete_is_refused,
};
pub use requests::{
    completed_request_is_final, one_of_many_runs, other_request_is_a_mismatch, reply_is_replayed,
    reply_is_stored_for_its_retention, request_in_flight_excludes_others,
};

/// Checks every guarantee. A store without a manual clock needs about half a minute.
///
/// # Errors
/// Returns [`Broken`] with every violated guarantee and what was observed.
pub async fn all<F: StoreFixture>(fixture: &F) -> Result<(), Broken> {
    let mut suite = Suite::new("IdempotencyStore");
    suite
        .check("a reply is replayed to the same request of the same caller", reply_is_replayed(fixture))
        .await;
    suite
        .check("a request in flight excludes equal requests", request_in_flight_excludes_others(fixture))
        .await;
    suite
        .check("another request under the same key is a mismatch", other_request_is_a_mismatch(fixture))
        .await;
    suite.check("an abandoned request runs again", abandoned_request_runs_again(fixture)).await;
    suite.check("an expired lease admits another run", expired_lease_admits_another_run(fixture)).await;
    suite.check("a late complete is refused and overwrites nothing", late_complete_is_refused(fixture)).await;
    suite
        .check("a late abandon does not release another lease", late_abandon_keeps_the_next_lease(fixture))
        .await;
    suite.check("a completed request keeps its first reply", completed_request_is_final(fixture)).await;
    suite.check("a reply is stored for its retention", reply_is_stored_for_its_retention(fixture)).await;
    suite.check("one of many concurrent requests runs", one_of_many_runs(fixture)).await;
    suite.finish()
}
