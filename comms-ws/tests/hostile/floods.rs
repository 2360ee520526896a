//! Too many frames, sessions and handshakes.

use std::time::Duration;

use comms_ws::close;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::{
    support::{
        Client, LIMIT, Open, Transport,
        raw::{CONTINUATION, FIN, PING, Raw, TEXT, frame, handshake},
        server::Io,
    },
    witness::{IO, Witnessed},
};

/// Sends `bytes` again and again until the server ends the connection. Returns the close code.
async fn flood(raw: &mut Raw, first: &[u8], bytes: &[u8]) -> u16 {
    let many = bytes.repeat(200);
    let flood = async {
        let mut sent = raw.socket.write_all(first).await;
        while sent.is_ok() {
            sent = raw.socket.write_all(&many).await;
        }
    };
    timeout(LIMIT, flood).await.expect("the server reads without end");
    raw.close_code().await
}

/// Every frame counts, whether or not it completes a message. The close frame is lost if the client still sends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_frames_ends_the_session() {
    let floods: [(&str, Vec<u8>, Vec<u8>); 5] = [
        ("empty continuations", frame(TEXT, b""), frame(CONTINUATION, b"")),
        ("small continuations", frame(TEXT, b"{"), frame(CONTINUATION, b" ")),
        ("pings", Vec::new(), frame(FIN | PING, b"0123456789")),
        ("JSON pings", Vec::new(), frame(FIN | TEXT, br#"{"type":"ping"}"#)),
        ("subscriptions", Vec::new(), frame(FIN | TEXT, br#"{"type":"subscribe","topic":"public/x"}"#)),
    ];
    for io in IO {
        let mut witness = Witnessed::start(io, |config| config).await;
        for (what, first, bytes) in &floods {
            let mut raw = Raw::open(witness.server.address, &Open::of("eve")).await;
            let code = flood(&mut raw, first, bytes).await;
            assert!([0, close::POLICY].contains(&code), "{io:?}: {what}: {code}");
            witness.check().await;
        }
        // Slow enough to read the close frame.
        let mut raw = Raw::open(witness.server.address, &Open::of("eve")).await;
        for _ in 0..60 {
            raw.frame(FIN | PING, b"").await.unwrap();
        }
        assert_eq!(raw.close_code().await, close::POLICY, "{io:?}");
        drop(raw);
        witness.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_of_one_user_are_limited() {
    const SOCKETS: usize = 2_000;
    for transport in [Transport::WebSocket, Transport::Events] {
        let mut witness =
            Witnessed::start(Io::Bare, |config| config.max_sessions_per_principal(20).max_sessions(500))
                .await;
        let mut sockets = JoinSet::new();
        for _ in 0..SOCKETS {
            let address = witness.server.address;
            sockets.spawn(async move { Client::try_open(address, transport, &Open::of("eve")).await });
        }
        let results = sockets.join_all().await;
        let refused = results.iter().filter(|result| matches!(result, Err(429))).count();
        let accepted: Vec<Client> = results.into_iter().filter_map(Result::ok).collect();
        assert_eq!((accepted.len(), refused), (20, SOCKETS - 20), "{transport:?}");
        assert_eq!(witness.server.hub.stats().sessions, 21);
        witness.check().await;
        drop(accepted);
        witness.end().await;
    }
}

/// Requests that never end are no sessions, and take nothing from the limits of sessions.
#[tokio::test]
async fn slow_handshakes_are_no_sessions() {
    let mut witness = Witnessed::start(Io::Bare, |config| config.max_sessions(3)).await;
    let request = handshake(&Open::of("eve"));
    let mut slow = Vec::new();
    for index in 0..300 {
        let mut socket = TcpStream::connect(witness.server.address).await.unwrap();
        // Without any byte, the server would not know the version of HTTP, for which this one has no limit.
        socket.write_all(&request.as_bytes()[..1 + index % (request.len() - 2)]).await.unwrap();
        slow.push(socket);
    }
    witness.check().await;
    assert_eq!(witness.server.hub.stats().sessions, 1);
    let client = Client::open(witness.server.address, Transport::WebSocket, &Open::of("bob")).await;
    // The server of the tests limits the time of a head, as each listener has to.
    for mut socket in slow {
        let mut rest = Vec::new();
        let end = timeout(Duration::from_secs(10), socket.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "the request never ends");
    }
    drop(client);
    witness.end().await;
}
