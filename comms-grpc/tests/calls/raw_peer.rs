//! A peer whose frames the test writes, and which records the frames that it receives.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::{
    frames::{ACK, HEADERS, RST_STREAM, SETTINGS, frame},
    support::eventually,
};

/// A connection of the peer, by its number from 0.
type Connections = Arc<Mutex<Vec<Arc<tokio::sync::Mutex<OwnedWriteHalf>>>>>;

/// The peer. It grants no flow-control window and answers nothing by itself but settings.
pub(crate) struct RawPeer {
    pub(crate) address: SocketAddr,
    connections: Connections,
    /// The connection, stream and type of each HEADERS and RST_STREAM frame.
    received: Arc<Mutex<Vec<(usize, u32, u8)>>>,
}

/// Returns SETTINGS with a maximum of concurrent streams.
pub(crate) fn max_streams(max: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&[0, 3][..], &max.to_be_bytes()].concat())
}

impl RawPeer {
    /// Starts a peer. `settings` returns the first frame of each connection.
    pub(crate) async fn start(settings: impl Fn(usize) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let peer = Self { address, connections: Arc::default(), received: Arc::default() };
        let (connections, received) = (peer.connections.clone(), peer.received.clone());
        tokio::spawn(async move {
            for number in 0.. {
                let (reader, mut writer) = listener.accept().await.unwrap().0.into_split();
                writer.write_all(&settings(number)).await.unwrap();
                let writer = Arc::new(tokio::sync::Mutex::new(writer));
                connections.lock().unwrap().push(writer.clone());
                tokio::spawn(record(number, reader, writer, received.clone()));
            }
        });
        peer
    }

    /// Writes `frames` on a connection.
    pub(crate) async fn send(&self, connection: usize, frames: &[u8]) {
        let writer = self.connections.lock().unwrap()[connection].clone();
        writer.lock().await.write_all(frames).await.unwrap();
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.lock().unwrap().len()
    }

    /// Returns the connection and the stream of each call that was received.
    pub(crate) fn calls(&self) -> Vec<(usize, u32)> {
        self.received_of(HEADERS)
    }

    /// Returns the connection and the stream of each call that was reset.
    pub(crate) fn resets(&self) -> Vec<(usize, u32)> {
        self.received_of(RST_STREAM)
    }

    fn received_of(&self, kind: u8) -> Vec<(usize, u32)> {
        let received = self.received.lock().unwrap();
        received.iter().filter(|(_, _, of)| *of == kind).map(|(c, stream, _)| (*c, *stream)).collect()
    }

    /// Waits until this number of calls was received.
    pub(crate) async fn wait_for_calls(&self, calls: usize) {
        eventually("the peer has received the calls", || self.calls().len() >= calls).await;
    }
}

async fn record(
    connection: usize,
    mut reader: OwnedReadHalf,
    writer: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    received: Arc<Mutex<Vec<(usize, u32, u8)>>>,
) {
    // The client may end the connection at any time.
    let _ = async {
        reader.read_exact(&mut [0; 24]).await?;
        loop {
            let mut head = [0; 9];
            reader.read_exact(&mut head).await?;
            let [a, b, c, kind, flags, stream @ ..] = head;
            reader.read_exact(&mut vec![0; u32::from_be_bytes([0, a, b, c]) as usize]).await?;
            if kind == SETTINGS && flags & ACK == 0 {
                writer.lock().await.write_all(&frame(SETTINGS, ACK, 0, &[])).await?;
            }
            if kind == HEADERS || kind == RST_STREAM {
                received.lock().unwrap().push((connection, u32::from_be_bytes(stream), kind));
            }
        }
        #[allow(unreachable_code, reason = "the type of the block")]
        std::io::Result::Ok(())
    }
    .await;
}
