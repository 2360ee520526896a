//! The network between the browser and the servers: a TCP proxy that a test interrupts. The browser sees one origin,
//! whatever server is behind it.

use std::net::SocketAddr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    pin, select,
    sync::watch,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// New connections go to this server. The others stay with theirs.
    Open(SocketAddr),
    /// No byte passes, and no connection ends.
    Stalled,
    /// Each connection ends at once.
    Cut,
}

/// The proxy. It ends when it is dropped.
pub(crate) struct Network {
    pub(crate) address: SocketAddr,
    state: watch::Sender<State>,
}

impl Network {
    /// Starts a proxy that is cut.
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, mut changes) = watch::channel(State::Cut);
        tokio::spawn(async move {
            loop {
                select! {
                    accepted = listener.accept() => drop(tokio::spawn(carry(accepted.unwrap().0, changes.clone()))),
                    changed = changes.changed() => if changed.is_err() { return },
                }
            }
        });
        Self { address, state }
    }

    pub(crate) fn open(&self, server: SocketAddr) {
        self.state.send_replace(State::Open(server));
    }

    pub(crate) fn stall(&self) {
        self.state.send_replace(State::Stalled);
    }

    pub(crate) fn cut(&self) {
        self.state.send_replace(State::Cut);
    }
}

async fn carry(mut client: TcpStream, mut state: watch::Receiver<State>) {
    let open = state.wait_for(|state| *state != State::Stalled).await.map(|state| *state);
    let Ok(State::Open(server)) = open else { return };
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let copy = copy_bidirectional(&mut client, &mut server);
    pin!(copy);
    loop {
        let is_stalled = *state.borrow_and_update() == State::Stalled;
        select! {
            _ = &mut copy, if !is_stalled => return,
            changed = state.changed() => if changed.is_err() || *state.borrow() == State::Cut { return },
        }
    }
}
