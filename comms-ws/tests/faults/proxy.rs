//! A proxy between clients and a server that cuts, delays, half-closes and stalls connections.

use std::{net::SocketAddr, time::Duration};

use rand_xoshiro::{
    Xoshiro256PlusPlus,
    rand_core::{Rng, SeedableRng},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
    time::sleep,
};

/// What happens to a connection after some bytes from the server.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Both directions end at once.
    Cut,
    /// The direction from the server ends, the other one stays open for a moment.
    HalfClose,
    /// Nothing more passes, and the connection stays open for a moment.
    Stall,
    /// Bytes pass one by one for a while.
    Trickle,
}

/// A proxy. It ends when it is dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    accept: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy whose connections fail after a random number of bytes below `within`.
    pub(crate) async fn start(server: SocketAddr, seed: u64, within: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let accept = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                let fault = [Fault::Cut, Fault::HalfClose, Fault::Stall, Fault::Trickle]
                    [random.next_u64() as usize % 4];
                tokio::spawn(relay(client, server, fault, random.next_u64() % within));
            }
        });
        Self { address, accept }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn relay(client: TcpStream, server: SocketAddr, fault: Fault, after: u64) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let up = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    down(from_server, to_client, fault, after).await;
    up.abort();
}

async fn down(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, fault: Fault, after: u64) {
    let mut buffer = vec![0; 4096];
    let mut left = usize::try_from(after).unwrap();
    while left > 0 {
        let len = buffer.len().min(left);
        let Ok(read @ 1..) = from.read(&mut buffer[..len]).await else { return };
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        left -= read;
    }
    match fault {
        Fault::Cut => {}
        Fault::HalfClose => {
            let _ = to.shutdown().await;
            sleep(Duration::from_millis(30)).await;
        }
        Fault::Stall => sleep(Duration::from_millis(100)).await,
        Fault::Trickle => {
            for _ in 0..200 {
                let Ok(1..) = from.read(&mut buffer[..1]).await else { return };
                if to.write_all(&buffer[..1]).await.is_err() {
                    return;
                }
            }
        }
    }
}
