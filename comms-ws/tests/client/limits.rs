//! Clients at the limits of a hub: many topics with long names, and more sessions than their user may have.

use std::{collections::BTreeSet, time::Duration};

use comms_core::{ErrorKind, clock::Clock};
use comms_ws::{Hub, HubConfig, PrincipalLimit, client::Item};

use crate::{
    hub::{Proxy, push, serve, start},
    support::{clock, text},
};

/// The cursor is longer than a frame, a header and a URL may be. The URL has a part of it, and frames at the allowed rate have
/// the rest.
#[tokio::test]
async fn a_client_with_many_topics_resumes_all_of_them() {
    let shared = clock();
    let config = HubConfig::default().max_topics(200).ping_interval(Duration::from_secs(3_600));
    let hub = Hub::new(config, shared.clone()).unwrap();
    let port = serve(hub.clone()).await;
    let proxy = Proxy::start(port, port).await;
    let names: Vec<String> = (0..100).map(|n| format!("room/{n:03}/{}", "x".repeat(190))).collect();
    let mut client = start(&proxy, |builder| {
        let builder = builder.clock(shared.clone()).connect_timeout(Duration::from_secs(3_600));
        names.iter().fold(builder, |builder, name| builder.topic(name))
    });
    // The rates of the client and of the hub are on this clock.
    let moving = tokio::spawn(async move {
        loop {
            shared.advance(Duration::from_millis(100));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let all = |change: &str| -> BTreeSet<String> {
        let granted = ["user/ann", "filtered"].map(str::to_owned);
        names.iter().chain(&granted).map(|name| format!("{change} {name}")).collect()
    };
    let mut items = BTreeSet::new();
    while items.len() < 103 {
        items.insert(text(&client.item().await));
    }
    items.remove("connected");
    assert_eq!(items, all("subscribed"));
    for round in 1..3 {
        proxy.cut.notify_waiters();
        assert!(matches!(client.item().await, Item::Disconnected { .. }));
        for name in &names {
            hub.publish(name, &push(round, "e")).await.unwrap();
        }
        let (mut topics, mut events) = (BTreeSet::new(), BTreeSet::new());
        while topics.len() < 102 || events.len() < 100 {
            match client.item().await {
                Item::Event(event) => assert!(events.insert(event.topic)),
                Item::Connected { .. } => {}
                item => assert!(topics.insert(text(&item))),
            }
        }
        assert_eq!(topics, all("recovered"));
    }
    moving.abort();
}

/// The client whose session was replaced does not come back, or both would replace each other for ever.
#[tokio::test]
async fn a_replaced_client_ends() {
    let config = HubConfig::default().max_sessions_per_principal(1);
    let config = config.when_principal_is_full(PrincipalLimit::EndOldest);
    let hub = Hub::new(config, Clock::system()).unwrap();
    let port = serve(hub.clone()).await;
    let proxy = Proxy::start(port, port).await;
    let mut first = start(&proxy, |builder| builder);
    assert_eq!(first.items(3).await[0], "connected");
    let mut second = start(&proxy, |builder| builder);
    assert_eq!(second.items(3).await[0], "connected");
    let error = first.error().await;
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.chain().to_string().contains("4409"), "{}", error.chain());
    hub.publish("user/ann", &push(1, "e")).await.unwrap();
    assert_eq!(second.items(1).await, ["event user/ann 1"]);
    assert_eq!(hub.stats().sessions, 1);
}
