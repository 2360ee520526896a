//! Webhooks that the receiver can verify: signed, retried, with rotation of the secret.
//!
//! The problem: anyone can post to a webhook's URL, a recorded request can be sent again, and a sender's retry must not
//! have a second effect.
//!
//! The solution: the sender signs id, timestamp and body (Standard Webhooks). The receiver verifies the signature, refuses
//! old timestamps, and claims each id once.
//!
//! `cargo run -p examples --example webhook`: needs nothing else, both sides run in this process on a manual clock.

use std::{collections::BTreeSet, time::Duration};

use comms_core::{
    Claim, Error,
    clock::Clock,
    http::HeaderMap,
    webhooks::{Delivery, Secret, Signer, Verifier, WebhookError},
};

/// The receiver. In a service `claimed` is an inbox: the claim commits with the effect.
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
    /// Verifies a request. `body` is the received bytes: parse them only after the verification.
    fn receive(&mut self, headers: &HeaderMap, body: &[u8]) -> Received {
        let verified = match self.verifier.verify(headers, body) {
            Ok(verified) => verified,
            Err(refused) => return Received::Refused(refused),
        };
        // An id is unique for its sender, so the sender is part of the claim.
        let (subscriber, handler) = ("billing".into(), "webhook".into());
        let claim = Claim { subscriber, handler, source: "webhook/shop".into(), id: verified.id };
        if self.claimed.insert(claim) { Received::Done } else { Received::SeenBefore }
    }
}

/// The headers of one attempt.
fn attempt(signer: &Signer, delivery: &Delivery) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    signer.sign(delivery).inject(&mut headers)?;
    Ok(headers)
}

fn show(what: &str, received: &Received) {
    match received {
        Received::Refused(why) => println!("{what}: refused, {why}"),
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
    show("another body under the same headers", &forged);

    // A recorded request can be sent again: the signature is valid, but the id is claimed already.
    clock.advance(Duration::from_secs(60));
    let replayed = billing.receive(&sent, paid.body());
    show("a replay after a minute", &replayed);

    clock.advance(Duration::from_secs(241));
    let old_one = billing.receive(&sent, paid.body());
    show("a replay after five minutes and a second", &old_one);

    // The sender's own retry has the same id and a fresh timestamp.
    let retried = billing.receive(&attempt(&shop, &paid)?, paid.body());
    show("a retry", &retried);

    // Rotation without a gap: the sender signs with both secrets, the receiver changes to the new one, the old one goes.
    let refunded = Delivery::new("msg_order_42_refunded", r#"{"type":"order.refunded"}"#)?;
    let both = Signer::new([new.clone(), old.clone()], clock.clone())?;
    let rotating = billing.receive(&attempt(&both, &refunded)?, refunded.body());
    show("signed with the new secret and the old", &rotating);
    billing.verifier = Verifier::new([new], clock.clone())?;
    let shipped = Delivery::new("msg_order_42_shipped", r#"{"type":"order.shipped"}"#)?;
    let rotated = billing.receive(&attempt(&both, &shipped)?, shipped.body());
    show("the same to a receiver with the new secret alone", &rotated);
    let stale = billing.receive(&attempt(&shop, &shipped)?, shipped.body());
    show("signed with the old secret alone", &stale);

    let states = [first, replayed, retried, rotating, rotated];
    use Received::{Done, SeenBefore};
    assert_eq!(states, [Done, SeenBefore, SeenBefore, Done, Done]);
    assert!([forged, stale].iter().all(|r| *r == Received::Refused(WebhookError::NoMatch)));
    assert!(matches!(old_one, Received::Refused(WebhookError::TooOld { .. })));
    Ok(())
}
