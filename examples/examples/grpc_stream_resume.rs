//! A gRPC server stream that survives breaks.
//!
//! The problem: a stream of events breaks when a connection, a server or a proxy goes away. The client must open it again
//! after the right wait, from the right event, and without a loop that never makes progress. A server that stops sending
//! without an error looks like a quiet one.
//!
//! The solution: `Resume` opens the stream again after the position of the last event, with a backoff that each new event
//! resets. A silence counts as a break. Events that the server sends again are dropped by their position.
//!
//! Prints each call with its fault, and the events that the client gets: each one once, in their order.
//!
//! Run: `cargo run -p examples --example grpc_stream_resume`. Nothing else is needed; client and server are in this process.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use comms_core::{clock::Clock, resilience::Backoff};
use comms_grpc::{Channel, Resume, ResumeConfig, ServerConfig, serve};
use examples::feed::{
    After, Event,
    feed_client::FeedClient,
    feed_server::{Feed, FeedServer},
};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio::{net::TcpListener, sync::oneshot};
use tonic::{Request, Response, Status, async_trait, service::Routes};

/// The last event of the feed.
const LAST: u64 = 8;

/// The fault of one call.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// The server restarts after some events.
    Restart { after: usize },
    /// The server sends some events, and then nothing more.
    Silence { after: usize },
    /// The server sends two events again.
    Again,
    /// The server is overloaded, and refuses the call.
    Overload,
}

#[derive(Clone, Default)]
struct FeedService(Arc<Mutex<VecDeque<Fault>>>);

#[async_trait]
impl Feed for FeedService {
    type FollowStream = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

    async fn follow(&self, request: Request<After>) -> Result<Response<Self::FollowStream>, Status> {
        let after = request.get_ref().position;
        let fault = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        println!("  server: a call for the events after {after}, {fault:?}");
        let first = if let Some(Fault::Again) = fault { after.saturating_sub(1) } else { after + 1 };
        let event = |position| Ok(Event { position, text: format!("order-{position} is paid") });
        let events = stream::iter(first..=LAST).map(event);
        Ok(Response::new(match fault {
            Some(Fault::Restart { after }) => {
                let broken = stream::iter([Err(Status::unavailable("restarting"))]);
                events.take(after).chain(broken).boxed()
            }
            Some(Fault::Silence { after }) => events.take(after).chain(stream::pending()).boxed(),
            Some(Fault::Overload) => {
                let wait = Some(Duration::from_millis(300));
                return Err(comms_grpc::refused(&comms_core::Error::rejected("overloaded", wait)));
            }
            Some(Fault::Again) | None => events.boxed(),
        }))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let service = FeedService::default();
    let faults = [Fault::Restart { after: 3 }, Fault::Overload, Fault::Silence { after: 2 }, Fault::Again];
    service.0.lock().unwrap_or_else(PoisonError::into_inner).extend(faults);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let channel = Channel::builder(format!("http://{}", listener.local_addr()?)).peer("feed");
    let channel = channel.timeout(Duration::from_secs(3_600)).build()?; // one call may stream for an hour
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async { drop(stopped.await) };
    let routes = Routes::new(FeedServer::new(service));
    let server = tokio::spawn(serve(listener, routes, ServerConfig::default(), Clock::system(), shutdown));

    let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30))?;
    let config = ResumeConfig::default().backoff(backoff).silence(Duration::from_millis(500));
    // A real consumer starts after the position that it has stored with its own state.
    let resume = Resume::new("feed", config, Clock::system())?.after(0).drop_duplicates();
    let events = resume.open(
        |event: &Event| Some(event.position),
        move |after| {
            let mut client = FeedClient::new(channel.clone());
            async move { client.follow(After { position: after.unwrap_or_default() }).await }
        },
    );
    let printed = events.inspect_ok(|event| println!("  client: {} {}", event.position, event.text));
    let positions: Vec<u64> = printed.map_ok(|event| event.position).try_collect().await?;

    anyhow::ensure!(
        positions == (1..=LAST).collect::<Vec<_>>(),
        "each event once, in their order: {positions:?}"
    );
    let _ = stop.send(());
    Ok(server.await??)
}
