//! What a stored reply says, the same for both backends.

use comms_core::{Admit, CallKey, Error, StoredReply};

pub(crate) fn stored(
    key: &CallKey,
    fingerprint: Vec<u8>,
    status: Option<i32>,
    body: Option<Vec<u8>>,
) -> Result<Admit, Error> {
    if fingerprint != key.fingerprint {
        return Ok(Admit::Mismatch);
    }
    match (status, body) {
        (Some(status), Some(body)) => Ok(Admit::Replay(StoredReply { status, body: body.into() })),
        // Its effect is there and its reply is not: a mistake of the program that ran it.
        _ => Err(Error::invalid(
            "a request of this key was admitted and not answered: call answer before the commit",
        )),
    }
}

pub(crate) fn answered(rows: u64) -> Result<(), Error> {
    if rows == 1 {
        return Ok(());
    }
    Err(Error::invalid("answer needs a request that was admitted with Run, and only once"))
}
