//! Versions and checksums of the migrations, for both backends.

use comms_core::Error;
use sha2::{Digest, Sha256};

/// The migrations in order; the first one has version 1. They may be rewritten before version 0.1.0. From then on new
/// migrations are appended.
pub(crate) type Migrations = [&'static str];

pub(crate) fn checksum(text: &str) -> Vec<u8> {
    Sha256::digest(text.as_bytes()).to_vec()
}

/// Returns the migrations that are not applied yet, each with its version.
///
/// # Errors
/// Returns `Misconfigured` if a newer program has migrated the tables, or if an applied migration has another checksum.
pub(crate) fn missing<'a>(
    all: &'a Migrations,
    applied: &[(i64, Vec<u8>)],
) -> Result<impl Iterator<Item = (i64, &'static str)> + use<'a>, Error> {
    for (n, (version, applied)) in applied.iter().enumerate() {
        let known = all.get(n).filter(|_| usize::try_from(*version) == Ok(n + 1));
        let Some(text) = known else {
            return Err(Error::misconfigured(format!(
                "the outbox tables are at version {version}, and this program supports versions up to {}: start the \
                 program that migrated them, or a newer one",
                all.len()
            )));
        };
        if checksum(text) != *applied {
            return Err(Error::misconfigured(format!(
                "migration {version} of the outbox tables has another checksum than in this program: before version \
                 0.1.0, drop the tables comms_outbox, comms_outbox_cursor, comms_outbox_guard, comms_outbox_branch, \
                 comms_outbox_parked, comms_inbox, comms_replies, comms_event, comms_snapshot, \
                 comms_projection, comms_projection_parked, comms_saga, comms_saga_timer, comms_saga_log, \
                 comms_saga_early and comms_outbox_migrations, and migrate again"
            )));
        }
    }
    let from = applied.len();
    Ok((1..).zip(all.iter().copied()).skip(from))
}

/// Checks that every migration is applied.
///
/// # Errors
/// Returns `Misconfigured` if a migration is missing, as well as in the cases of [`missing`].
pub(crate) fn check(all: &Migrations, applied: &[(i64, Vec<u8>)]) -> Result<(), Error> {
    match missing(all, applied)?.next() {
        None => Ok(()),
        Some((version, _)) => Err(Error::misconfigured(format!(
            "migration {version} of the outbox tables is not applied: call Tables::migrate before the relay starts"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_rewritten_and_newer_migrations_are_detected() {
        let all = ["one", "two"];
        let one = (1, checksum("one"));
        let rest: Vec<_> = missing(&all, std::slice::from_ref(&one)).unwrap().collect();
        assert_eq!(rest, [(2, "two")]);
        assert!(check(&all, std::slice::from_ref(&one)).unwrap_err().to_string().contains("Tables::migrate"));
        assert!(check(&all, &[one.clone(), (2, checksum("two"))]).is_ok());
        assert!(missing(&all, &[one.clone(), (2, checksum("other"))]).is_err(), "rewritten");
        assert!(missing(&all[..1], &[one, (2, checksum("two"))]).is_err(), "newer than this program");
    }
}
