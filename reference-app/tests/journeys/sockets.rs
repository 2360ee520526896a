//! The expiry of a token: the same moment for requests and for the session of a socket.

use std::time::Duration;

use comms_core::clock::Clock;
use reference_app::platform::{config::Auth, identity::DevIssuer};

use crate::support::{Buyer, Deployment, Marketplace};

/// Returns a buyer whose token expired `ago`.
fn buyer_with_expired_token(marketplace: &Marketplace, ago: Duration) -> Buyer {
    let auth = Auth {
        issuer: "tests".into(),
        audience: "comms".into(),
        public_key_file: None,
        clock_skew: Duration::ZERO,
    };
    let dir = marketplace.data_dir().parent().unwrap().to_owned();
    let then = Clock::manual(Clock::system().unix() - ago);
    let mut buyer = marketplace.buyer("ann");
    buyer.token = DevIssuer::load(&dir, &auth, &then).unwrap().token("ann", Duration::ZERO).unwrap();
    buyer
}

#[tokio::test]
async fn a_socket_is_closed_when_its_token_expires() {
    let marketplace =
        Marketplace::start_with(Deployment::Embedded, &[("COMMS_AUTH__CLOCK_SKEW", "0s")]).await;
    let token = marketplace.token("ann", Duration::from_secs(2));
    let mut socket = marketplace.buyer("ann").try_socket(Some(&token)).await.unwrap();
    assert_eq!(socket.close_code().await, Some(4401), "closed at the expiry of the token");
}

#[tokio::test]
async fn a_token_within_the_clock_skew_is_accepted_by_requests_and_sockets() {
    let marketplace = Marketplace::start(Deployment::Embedded).await;
    let ann = buyer_with_expired_token(&marketplace, Duration::from_secs(10));
    let mut socket = ann.socket().await;
    let placed = ann.place("k", 100).await;
    socket.until(&placed.order_id, "DELIVERED").await;
    let closed = tokio::time::timeout(Duration::from_secs(2), socket.event()).await;
    assert!(closed.is_err(), "the session stays open for the rest of the skew: {closed:?}");
}

#[tokio::test]
async fn a_session_ends_with_the_skew_that_is_configured() {
    let marketplace =
        Marketplace::start_with(Deployment::Embedded, &[("COMMS_AUTH__CLOCK_SKEW", "15s")]).await;
    let ann = buyer_with_expired_token(&marketplace, Duration::from_secs(11));
    let mut socket = ann.socket().await;
    assert_eq!(ann.get("/v1/orders/none").await.unwrap().status(), 404, "the token is accepted");
    assert_eq!(socket.close_code().await, Some(4401));
    assert_eq!(ann.get("/v1/orders/none").await.unwrap().status(), 401, "the token has expired");
    assert!(ann.try_socket(Some(&ann.token)).await.is_err());
}
