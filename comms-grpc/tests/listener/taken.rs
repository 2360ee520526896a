//! Sockets that are taken out of upgraded connections.

use std::time::Duration;

use comms_grpc::ListenerConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};

use crate::support::{LIMIT, Server, Socket, Transport, WAIT, log::Log, over_each_transport};

const REQUEST: &str = "GET /take HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";

/// Upgrades a connection, and sends `first` with the request. Returns the connection after the response and the word for
/// what the server has.
async fn taken(transport: Transport, server: &Server, first: &str) -> Socket {
    let mut client = server.send(format!("{REQUEST}{first}").as_bytes()).await;
    let mut head = vec![0; 12];
    client.read_exact(&mut head).await.unwrap();
    assert_eq!(head, b"HTTP/1.1 101");
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    // An encrypted connection has no bare socket.
    let expected = if transport == Transport::Plain { "socket" } else { "stream" };
    assert_eq!(read(&mut client, 6).await, expected, "{transport:?}");
    client
}

async fn read(client: &mut Socket, len: usize) -> String {
    let mut bytes = vec![0; len];
    timeout(WAIT, client.read_exact(&mut bytes)).await.expect("an echo").unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn assert_echoes(client: &mut Socket) {
    client.write_all(b"!").await.unwrap();
    client.flush().await.unwrap();
    assert_eq!(read(client, 1).await, "!");
}

#[tokio::test]
async fn a_taken_socket_loses_no_byte() {
    over_each_transport(async |transport| {
        let server = Server::start(transport, |_| {}).await;
        let mut client = taken(transport, &server, "early").await;
        assert_eq!(read(&mut client, 5).await, "early");
        assert_echoes(&mut client).await;
    })
    .await;
}

#[tokio::test]
async fn no_time_limit_of_the_listener_ends_a_taken_socket() {
    over_each_transport(async |transport| {
        let short = |config: &mut ListenerConfig| {
            (config.idle_timeout, config.keep_alive) = (LIMIT, LIMIT);
            (config.max_connection_age, config.max_connection_age_grace) = (Some(LIMIT), LIMIT);
        };
        let server = Server::start(transport, short).await;
        let mut client = taken(transport, &server, "").await;
        sleep(LIMIT * 4).await;
        assert_echoes(&mut client).await;
    })
    .await;
}

#[tokio::test]
async fn a_taken_socket_counts_towards_the_limits_until_it_ends() {
    over_each_transport(async |transport| {
        let server = Server::start(transport, |config| {
            (config.max_connections, config.max_connections_per_address) = (1, Some(1));
        })
        .await;
        let mut client = taken(transport, &server, "").await;
        let mut second = Box::pin(server.get("/"));
        assert!(timeout(LIMIT, second.as_mut()).await.is_err(), "the permit is released");
        assert_echoes(&mut client).await;
        drop(client);
        assert!(timeout(WAIT, second).await.expect("the permit is released").ends_with("hello"));
    })
    .await;
}

#[tokio::test]
async fn the_shutdown_neither_waits_for_a_taken_socket_nor_closes_it() {
    over_each_transport(async |transport| {
        let (log, _guard) = Log::record();
        let mut server = Server::start(transport, |config| config.drain = Duration::from_secs(600)).await;
        let mut client = taken(transport, &server, "").await;
        let (stop, _) = tokio::sync::oneshot::channel();
        std::mem::replace(&mut server.stop, stop).send(()).unwrap();
        timeout(WAIT, &mut server.ended).await.expect("nothing is in flight").unwrap().unwrap();
        assert_echoes(&mut client).await;
        assert!(!log.has("cut"), "{:?}", log.lines(""));
    })
    .await;
}
