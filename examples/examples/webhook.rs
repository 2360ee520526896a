//! Webhooks: signed by the sender, verified by the receiver, retried, with rotation of the secret.
//!
//! The problem: anyone can post to a webhook's URL. A recorded request can be replayed. A sender's retry must not have
//! a second effect.
//!
//! The solution: the sender signs id, timestamp and body (Standard Webhooks). The receiver verifies the signature,
//! refuses old timestamps, and claims each id once.
//!
//! Prints the headers of a request and the receiver's result for a forgery, replays, a retry, and a rotation.
//!
//! Run: `cargo run -p examples --example webhook`. Nothing else is needed; both sides are in this process.

use std::{collections::BTreeSet, time::Duration};

use comms_core::{
    Claim, Error,
    clock::Clock,
    http::HeaderMap,
    webhooks::{Delivery, Secret, Signer, Verifier, WebhookError},
};

/// The receiver. In a service, `claimed` is an inbox: the claim and the effect are committed in one transaction.
struct Billing {
    verifier: Verifier,
    claimed: BTreeSet<Claim>,
}

#[derive(Debug, PartialEq)]
enum Received {
    Done,
    SeenBefore,
    Refused(WebhookError),
}

impl Billing {
    /// Verifies and claims a request. `body` has the bytes as received. Parse them only after the verification.
    fn receive(&mut self, headers: &HeaderMap, body: &[u8]) -> Received {
        let verified = match self.verifier.verify(headers, body) {
            Ok(verified) => verified,
            Err(refused) => return Received::Refused(refused),
        };
        // An id is unique per sender, so the sender is part of the claim.
        let (subscriber, handler) = ("billing".into(), "webhook".into());
        let claim = Claim { subscriber, handler, source: "webhook/shop".into(), id: verified.id };
        if self.claimed.insert(claim) { Received::Done } else { Received::SeenBefore }
    }
}

/// Returns the headers of one attempt.
fn attempt(signer: &Signer, delivery: &Delivery) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    signer.sign(delivery).inject(&mut headers)?;
    Ok(headers)
}

fn show(what: &str, received: &Received) {
    match received {
        Received::Refused(error) => println!("{what}: refused, {error}"),
        other => println!("{what}: {other:?}"),
    }
}

fn main() -> Result<(), Error> {
    let clock = Clock::manual(Duration::from_secs(1_800_000_000));
    let (old, new) = (Secret::generate()?, Secret::generate()?);
    let shop = Signer::new([old.clone()], clock.clone())?;
    let verifier = Verifier::new([old.clone()], clock.clone())?;
    let mut billing = Billing { verifier, claimed: BTreeSet::new() };
    let body = r#"{"type":"order.paid","data":{"order_id":"42"}}"#;
    let paid = Delivery::new("msg_order_42_paid", body)?;

    let sent = attempt(&shop, &paid)?;
    for (name, value) in &sent {
        println!("  {name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    let first = billing.receive(&sent, paid.body());
    show("the first attempt", &first);

    let forged = billing.receive(&sent, br#"{"type":"order.paid","data":{"order_id":"43"}}"#);
    show("another body with the same headers", &forged);

    // A replay has a valid signature, but its id is claimed already.
    clock.advance(Duration::from_secs(60));
    let replayed = billing.receive(&sent, paid.body());
    show("a replay after a minute", &replayed);

    clock.advance(Duration::from_secs(241));
    let expired = billing.receive(&sent, paid.body());
    show("a replay after five minutes and a second", &expired);

    // A retry of the sender has the same id and a new timestamp.
    let retried = billing.receive(&attempt(&shop, &paid)?, paid.body());
    show("a retry", &retried);

    // Rotation without an interruption: the sender signs with both secrets until the receiver has the new secret.
    let refunded = Delivery::new("msg_order_42_refunded", r#"{"type":"order.refunded"}"#)?;
    let both = Signer::new([new.clone(), old.clone()], clock.clone())?;
    let rotating = billing.receive(&attempt(&both, &refunded)?, refunded.body());
    show("signed with the new and the old secret", &rotating);
    billing.verifier = Verifier::new([new], clock.clone())?;
    let shipped = Delivery::new("msg_order_42_shipped", r#"{"type":"order.shipped"}"#)?;
    let rotated = billing.receive(&attempt(&both, &shipped)?, shipped.body());
    show("signed with both, the receiver has only the new secret", &rotated);
    let stale = billing.receive(&attempt(&shop, &shipped)?, shipped.body());
    show("signed with only the old secret", &stale);

    let states = [first, replayed, retried, rotating, rotated];
    use Received::{Done, SeenBefore};
    assert_eq!(states, [Done, SeenBefore, SeenBefore, Done, Done]);
    assert!([forged, stale].iter().all(|r| *r == Received::Refused(WebhookError::SignatureMismatch)));
    assert!(matches!(expired, Received::Refused(WebhookError::TooOld { .. })));
    Ok(())
}
