//! A TCP forwarder: its clients keep their state while the server behind it is replaced.

use std::time::Duration;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
};

/// Forwards connections to the target port at the time of their opening. Without a target, or while no server listens
/// there, new connections wait, and their clients do not notice.
pub struct Forwarder {
    pub port: u16,
    target: watch::Sender<Option<u16>>,
    accept: AbortHandle,
}

impl Forwarder {
    pub async fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (target, changes) = watch::channel(Some(target));
        let accept = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, changes.clone()));
            }
        });
        Self { port, target, accept: accept.abort_handle() }
    }

    /// Closes all connections. New ones are forwarded to `target`.
    pub fn switch(&self, target: impl Into<Option<u16>>) {
        self.target.send_replace(target.into());
    }

    /// Closes all connections. New ones wait for the next [`Forwarder::switch`]. Returns the previous target.
    pub fn hold(&self) -> Option<u16> {
        self.target.send_replace(None)
    }
}

async fn forward(mut client: TcpStream, mut target: watch::Receiver<Option<u16>>) {
    let mut server = loop {
        let port = *target.borrow_and_update();
        let connected = match port {
            Some(port) => TcpStream::connect(("127.0.0.1", port)).await.ok(),
            None => None,
        };
        if let Some(server) = connected {
            break server;
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(10)) => {}
            changed = target.changed() => if changed.is_err() { return },
        }
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = target.changed() => {}
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.accept.abort();
    }
}
