//! Clients behind a faulty proxy. They reconnect with what they have, and miss nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use comms_ws::{Session, TopicOptions};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    proxy::Proxy,
    support::{Client, LIMIT, Ledger, Open, Server, Transport, builder, config, push, server::Io},
};

const TOPIC: &str = "user/ann";
const MESSAGES: u64 = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_behind_a_faulty_network_have_each_message_once() {
    for io in [Io::Bare, Io::Wrapped] {
        let options = TopicOptions::default().history(100_000, Duration::from_secs(600));
        let hub = builder(config().topic("user/", options)).build().unwrap();
        let server = Server::start_with(hub, io, |user| Some(Session::new(user, vec![TOPIC.into()]))).await;
        let proxy = Proxy::start(server.address, 7, 40_000).await;
        let connections = Arc::new(AtomicU64::new(0));
        let mut clients = JoinSet::new();
        for index in 0..18 {
            let (proxy, server, connections) = (proxy.address, server.address, connections.clone());
            clients.spawn(async move {
                let mut ledger = Ledger::default();
                // The position before the first message, over a connection without faults.
                let transport = Transport::ALL[index % 4];
                let mut client = Client::open(server, transport, &Open::of("ann")).await;
                client.checked(&mut ledger).await.unwrap();
                drop(client);
                while ledger.offset(TOPIC) != Some(MESSAGES) {
                    connections.fetch_add(1, Relaxed);
                    let open = Open::of("ann").cursor(ledger.cursor());
                    // A connection that is cut within the handshake is no session.
                    let opened = timeout(Duration::from_secs(2), Client::try_open(proxy, transport, &open));
                    let Ok(Ok(mut client)) = opened.await else { continue };
                    let read = async {
                        while client.checked(&mut ledger).await.is_ok()
                            && ledger.offset(TOPIC) != Some(MESSAGES)
                        {}
                    };
                    // A connection that stalls is given up.
                    let _ = timeout(Duration::from_secs(2), read).await;
                }
                ledger
            });
        }
        server.until("clients have connected", |stats| stats.sessions > 0).await;
        for n in 1..=MESSAGES {
            server.hub.publish(TOPIC, &push(n)).await.unwrap();
            if n % 10 == 0 {
                sleep(Duration::from_millis(2)).await;
            }
        }
        for ledger in timeout(LIMIT, clients.join_all()).await.unwrap() {
            // A client that began later has the position of its begin.
            let first = MESSAGES + 1 - ledger.received(TOPIC).len() as u64;
            assert_eq!(ledger.received(TOPIC), (first..=MESSAGES).collect::<Vec<_>>(), "{io:?}");
            assert_eq!(ledger.gaps(TOPIC), []);
        }
        assert!(connections.load(Relaxed) > 36, "the proxy cuts");
        server.until_empty().await;
    }
}
