//! Reading a stored reply, the same for both backends.

use comms_core::{
    Error,
    idempotency::{Admission, CallKey, StoredReply},
};

use crate::codec;

pub(crate) fn stored(
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
            reply.headers = codec::decode(headers.into())?;
            Ok(Admission::Replay(reply))
        }
        // Its effect is committed and its reply is not: a defect of the program that ran it.
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
