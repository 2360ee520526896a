//! A TCP proxy that a test can close, so that a server cannot be reached although its process runs.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

pub(crate) struct TcpProxy {
    from: SocketAddr,
    to: SocketAddr,
    open: Option<JoinHandle<()>>,
}

impl TcpProxy {
    /// Starts a proxy to the address `to`, on a free port.
    pub(crate) async fn to(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let from = listener.local_addr().unwrap();
        Self { from, to, open: Some(tokio::spawn(carry(listener, to))) }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.from
    }

    /// Closes every connection and the port.
    pub(crate) async fn close(&mut self) {
        if let Some(open) = self.open.take() {
            open.abort();
            let _ = open.await;
        }
    }

    /// Opens the same port again.
    pub(crate) async fn reopen(&mut self) {
        // An outgoing connection of another process may use the port for a moment.
        let mut attempts = 0;
        let listener = loop {
            match TcpListener::bind(self.from).await {
                Ok(listener) => break listener,
                Err(error) if attempts == 100 => panic!("{}: {error}", self.from),
                Err(_) => attempts += 1,
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        self.open = Some(tokio::spawn(carry(listener, self.to)));
    }
}

async fn carry(listener: TcpListener, to: SocketAddr) {
    // Closes every connection when this future is dropped.
    let mut connections = JoinSet::<io::Result<()>>::new();
    loop {
        let (mut here, _) = listener.accept().await.unwrap();
        connections.spawn(async move {
            let mut there = TcpStream::connect(to).await?;
            copy_bidirectional(&mut here, &mut there).await.map(|_| ())
        });
        while connections.try_join_next().is_some() {}
    }
}
