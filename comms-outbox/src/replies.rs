//! Converts stored replies, for both backends.

use comms_core::{
    Error, Headers,
    idempotency::{Admission, CallKey, StoredReply},
};

/// Compares a stored row with `key`, and returns its reply.
///
/// # Errors
/// Returns `Invalid` if the row has no reply, and `Internal` if its headers do not decode.
pub(crate) fn replay(
    key: &CallKey,
    fingerprint: Vec<u8>,
    status: Option<i32>,
    headers: Option<Vec<u8>>,
    body: Option<Vec<u8>>,
) -> Result<Admission, Error> {
    if fingerprint != key.fingerprint {
        return Ok(Admission::Mismatch);
    }
    match (status, headers, body) {
        (Some(status), Some(headers), Some(body)) => {
            let mut reply = StoredReply::new(status, body);
            reply.headers = Headers::decode(&headers).map_err(|error| {
                error.context("the column comms_replies.headers does not decode: another program has written to this row")
            })?;
            Ok(Admission::Replay(reply))
        }
        // The effect of the request is committed without a reply: a defect of the program that executed it.
        _ => Err(Error::invalid(
            "a request with this key was committed without a reply, so it cannot be replayed: store the reply before \
             the commit",
        )),
    }
}

/// Checks that a reply was stored in exactly one row.
///
/// # Errors
/// Returns `Invalid` if the request was not admitted, or has a reply already.
pub(crate) fn check_stored(rows: u64) -> Result<(), Error> {
    if rows == 1 {
        return Ok(());
    }
    Err(Error::invalid(
        "cannot store the reply: the request was not admitted with Run in this transaction, or has a reply already",
    ))
}
