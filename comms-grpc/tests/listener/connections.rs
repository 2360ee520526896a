//! Limits on the number and the age of connections, and the validation of limits.

use std::time::Duration;

use comms_core::{ErrorKind, clock::Clock};
use comms_grpc::{ListenerConfig, Protocols, RequestBody, listen};
use http::{Request, Response};
use tokio::{io::AsyncReadExt, net::TcpListener, time::timeout};

use crate::support::{LIMIT, Server, closed, over_each_transport};

#[tokio::test]
async fn connections_over_the_limit_of_an_address_are_closed_at_once() {
    over_each_transport(async |transport| {
        let server = Server::start(transport, |config| {
            config.head_timeout = Duration::from_secs(60);
            config.max_connections = 8;
            config.max_connections_per_address = Some(3);
        })
        .await;
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(server.connect_tcp().await);
        }
        for _ in 0..20 {
            let mut refused = server.connect_tcp().await;
            assert!(closed(&mut refused, Duration::from_secs(5)).await);
        }
        assert!(!closed(&mut held[0], LIMIT / 5).await, "earlier connections stay open");
        held.pop();
        // The server needs a moment to detect the end of the dropped connection.
        let served = async {
            loop {
                let mut socket = server.connect_tcp().await;
                if !closed(&mut socket, LIMIT / 5).await {
                    return;
                }
            }
        };
        timeout(Duration::from_secs(5), served).await.expect("the permit is released");
    })
    .await;
}

/// The default limit of an address is half of all connections.
#[tokio::test]
async fn one_address_cannot_use_all_connections() {
    over_each_transport(async |transport| {
        let server = Server::start(transport, |config| {
            config.head_timeout = Duration::from_secs(60);
            config.max_connections = 4;
        })
        .await;
        let _held = [server.connect_tcp().await, server.connect_tcp().await];
        let mut third = server.connect_tcp().await;
        assert!(closed(&mut third, Duration::from_secs(5)).await);
    })
    .await;
}

#[tokio::test]
async fn connections_over_the_limit_wait_in_the_backlog() {
    over_each_transport(async |transport| {
        let server = Server::start(transport, |config| {
            config.max_connections = 1;
            config.max_connections_per_address = Some(1);
        })
        .await;
        let first = server.connect().await;
        let second = server.get("/");
        tokio::pin!(second);
        assert!(timeout(LIMIT / 2, second.as_mut()).await.is_err());
        drop(first);
        assert!(second.await.ends_with("hello"));
    })
    .await;
}

/// An upgraded connection keeps its permit until its socket is closed.
#[tokio::test]
async fn upgraded_connections_count_towards_the_limits() {
    over_each_transport(async |transport| {
        let server = Server::start(transport, |config| {
            config.max_connections = 2;
            config.max_connections_per_address = Some(1);
        })
        .await;
        let upgrade = b"GET /upgrade HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
        let mut upgraded = server.send(upgrade).await;
        upgraded.read_u8().await.unwrap();
        let mut second = server.connect_tcp().await;
        assert!(closed(&mut second, Duration::from_secs(5)).await);
    })
    .await;
}

type Change = fn(&mut ListenerConfig);

#[tokio::test]
async fn a_limit_of_zero_is_invalid_and_named_in_the_error() {
    let cases: [(&str, Change); 8] = [
        ("head_timeout", |c| c.head_timeout = Duration::ZERO),
        ("idle_timeout", |c| c.idle_timeout = Duration::ZERO),
        ("progress_timeout", |c| c.progress_timeout = Duration::ZERO),
        ("max_connections", |c| c.max_connections = 0),
        ("max_connections_per_address", |c| c.max_connections_per_address = Some(0)),
        ("max_streams", |c| c.max_streams = 0),
        ("keep_alive", |c| c.keep_alive = Duration::ZERO),
        ("max_connection_age", |c| c.max_connection_age = Some(Duration::ZERO)),
    ];
    for (name, change) in cases {
        let mut config = ListenerConfig::default();
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = tower::service_fn(async |_: Request<RequestBody>| {
            Ok::<_, std::convert::Infallible>(Response::new(String::new()))
        });
        let result = listen(listener, |_| service, config, Clock::system(), std::future::pending()).await;
        let error = result.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.chain().to_string().contains(name), "{name}");
    }
}

#[tokio::test]
async fn limits_of_the_maximum_duration_do_not_panic() {
    over_each_transport(async |transport| {
        for protocols in [Protocols::Http, Protocols::Http2] {
            let server = Server::start(transport, |config| {
                config.protocols = protocols;
                (config.head_timeout, config.progress_timeout) = (Duration::MAX, Duration::MAX);
                config.idle_timeout = Duration::MAX;
                (config.drain, config.keep_alive, config.max_connections) =
                    (Duration::MAX, Duration::MAX, usize::MAX);
                config.max_connection_age = Some(Duration::MAX);
                config.max_connection_age_grace = Duration::MAX;
            })
            .await;
            let (client, connection) = server.http2(65_535).await;
            drop(crate::support::get(&client, "/").await);
            server.stop.send(()).unwrap();
            timeout(Duration::from_secs(5), server.ended).await.expect("ends").unwrap().unwrap();
            connection.await.unwrap().unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_reaches_its_age_is_closed_gracefully() {
    over_each_transport(async |transport| {
        let server = Server::start(transport, |config| {
            config.protocols = Protocols::Http2;
            config.max_connection_age = Some(LIMIT);
        })
        .await;
        let (client, connection) = server.http2(65_535).await;
        // The request takes longer than the age, and still finishes.
        let mut body = crate::support::get(&client, "/late").await;
        assert_eq!(body.data().await.unwrap().unwrap(), "hello");
        let end = timeout(Duration::from_secs(5), connection).await.expect("closed").unwrap();
        end.unwrap();
    })
    .await;
}
