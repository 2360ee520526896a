//! A TCP proxy in front of a server. A [`Fault`] happens to its first connection. The further ones pass through.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::frames::{NO_ERROR, goaway, serve_frames};

/// What happens to the first connection.
#[derive(Clone)]
pub(crate) enum Fault {
    /// The connection ends after this number of bytes from the client. If `true`, with a reset.
    CutRequest(usize, bool),
    /// The connection ends after this number of bytes from the server. If `true`, with a reset.
    CutResponse(usize, bool),
    /// The connection is closed when it is accepted.
    Refuse,
    /// The proxy answers each call with the frames for its stream, and passes nothing on. If `true`, it closes the
    /// connection after the first answer.
    Answer(fn(u32) -> Vec<u8>, bool),
    /// A graceful GOAWAY that includes the first call arrives before the answer of the server.
    GoawayBeforeAnswer,
}

/// A running proxy. Dropping it closes the listener and all connections.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    /// Whether the first connection has ended by its fault.
    pub(crate) cut: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) async fn start(upstream: SocketAddr, fault: Fault) -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (connections, cut) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counter, cuts) = (connections.clone(), cut.clone());
    let task = tokio::spawn(async move {
        let mut running = tokio::task::JoinSet::new();
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let is_first = counter.fetch_add(1, SeqCst) == 0;
            let (fault, cuts) = (fault.clone(), cuts.clone());
            running.spawn(async move {
                // The end of a connection is not an error of the test.
                let _ = match (is_first, fault) {
                    (false, _) => pass(client, upstream).await,
                    (true, Fault::Refuse) => Ok(()),
                    (true, Fault::Answer(frames, close)) => {
                        serve_frames(client, |stream| (frames(stream), close)).await;
                        Ok(())
                    }
                    (true, Fault::CutRequest(after, reset)) => {
                        cut_one(client, upstream, [Some(after), None], reset, &cuts).await
                    }
                    (true, Fault::CutResponse(after, reset)) => {
                        cut_one(client, upstream, [None, Some(after)], reset, &cuts).await
                    }
                    (true, Fault::GoawayBeforeAnswer) => inject(client, upstream).await,
                };
            });
        }
    });
    Proxy { address, connections, cut, task }
}

async fn pass(mut client: TcpStream, upstream: SocketAddr) -> io::Result<()> {
    let mut server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// Passes at most `limits` bytes of the two directions, and then ends both connections.
async fn cut_one(
    client: TcpStream,
    upstream: SocketAddr,
    limits: [Option<usize>; 2],
    reset: bool,
    cuts: &AtomicUsize,
) -> io::Result<()> {
    let server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    if reset {
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
        socket2::SockRef::from(&server).set_linger(Some(Duration::ZERO))?;
    }
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let done = tokio::select! {
        done = copy(&mut from_client, &mut to_server, limits[0]) => done,
        done = copy(&mut from_server, &mut to_client, limits[1]) => done,
    };
    if done? {
        cuts.fetch_add(1, SeqCst);
    }
    Ok(())
}

/// Copies until the end, or until `limit` bytes are copied. Returns whether the limit was reached.
async fn copy(
    from: &mut tokio::net::tcp::OwnedReadHalf,
    to: &mut tokio::net::tcp::OwnedWriteHalf,
    limit: Option<usize>,
) -> io::Result<bool> {
    let (mut left, mut buffer) = (limit.unwrap_or(usize::MAX), [0; 4096]);
    while left > 0 {
        let wanted = left.min(buffer.len());
        let read = from.read(&mut buffer[..wanted]).await?;
        if read == 0 {
            return Ok(false);
        }
        to.write_all(&buffer[..read]).await?;
        left -= read;
    }
    Ok(true)
}

/// Passes everything on, with a GOAWAY in front of the first frame of stream 1 from the server.
async fn inject(client: TcpStream, upstream: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect(upstream).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let frames = async {
        let mut injected = false;
        loop {
            let mut head = [0; 9];
            from_server.read_exact(&mut head).await?;
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let mut payload = vec![0; length];
            from_server.read_exact(&mut payload).await?;
            if !injected && head[5..9] == [0, 0, 0, 1] {
                injected = true;
                to_client.write_all(&goaway(1, NO_ERROR)).await?;
            }
            to_client.write_all(&[&head[..], &payload].concat()).await?;
        }
    };
    tokio::select! {
        done = copy(&mut from_client, &mut to_server, None) => done.map(drop),
        done = frames => done,
    }
}
