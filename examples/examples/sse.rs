//! Server-sent events: the same sessions without WebSocket, with a ticket for browsers, and with `Last-Event-ID`.
//!
//! The problem: a proxy does not pass WebSockets, or a client only listens. The `EventSource` of browsers sends no token, and
//! a token in the address ends up in logs.
//!
//! The solution: the same route of the hub answers `Accept: text/event-stream` with an event stream. A browser gets a ticket
//! for its token, which opens one stream within 30 seconds. Each event has the cursor as its `id`, and a client that
//! reconnects sends the last one.
//!
//! Prints the bytes of a stream, a ticket that is used twice, and a stream that resumes.
//!
//! Run: `cargo run -p examples --example sse`. Nothing else is needed; server and client are in this process.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use axum::{
    Router,
    extract::{Query, Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use comms_core::clock::Clock;
use comms_ws::{Hub, HubConfig, Session, credentials};
use examples::sockets::{push, serve_routes};
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

#[derive(Deserialize)]
struct Parameters {
    ticket: String,
}

/// Issues a ticket to the user of the token. Here the token is the user's name. A service verifies a JWT.
async fn issue(State(hub): State<Hub>, headers: HeaderMap) -> Result<String, StatusCode> {
    let user = credentials(&headers).ok_or(StatusCode::UNAUTHORIZED)?;
    hub.issue_ticket(user).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

/// Opens a session for the user of the ticket.
async fn open(State(hub): State<Hub>, Query(query): Query<Parameters>, request: Request) -> Response {
    match hub.redeem_ticket(&query.ticket).await {
        Ok(Some(user)) => {
            let topics = vec![format!("user/{user}")];
            hub.accept(request, Session::new(user, topics)).into_response()
        }
        Ok(None) => StatusCode::UNAUTHORIZED.into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let hub = Hub::new(HubConfig::default(), Clock::system())?;
    let routes = Router::new().route("/v1/events/ticket", post(issue)).route("/v1/events", get(open));
    let address = serve_routes(routes.with_state(hub.clone())).await?;

    println!("-- a ticket opens one stream");
    let ticket = ticket(address).await?;
    let mut stream = request(address, &get_events(&ticket, "")).await?;
    let welcome = until(&mut stream, "welcome").await?;
    println!("{welcome}");
    let mut second = request(address, &get_events(&ticket, "")).await?;
    println!(
        "the same ticket again: {}",
        until(&mut second, "\r\n").await?.lines().next().unwrap_or_default()
    );

    println!("-- an event, and the end of the connection");
    hub.publish("user/ann", &push(1, "CREATED")).await?;
    let event = until(&mut stream, "CREATED").await?;
    println!("{event}");
    drop(stream);
    let last_id = event.lines().find_map(|line| line.strip_prefix("id: ")).context("the id of the event")?;

    println!("-- what was published meanwhile follows the last id");
    hub.publish("user/ann", &push(2, "PAID")).await?;
    let resume = format!("last-event-id: {last_id}\r\n");
    let another = self::ticket(address).await?;
    let mut stream = request(address, &get_events(&another, &resume)).await?;
    let missed = until(&mut stream, "PAID").await?;
    println!("{missed}");
    anyhow::ensure!(missed.contains("\"recovered\":true") && !missed.contains("CREATED"), "each event once");
    Ok(())
}

fn get_events(ticket: &str, header: &str) -> String {
    format!("GET /v1/events?ticket={ticket} HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\n{header}\r\n")
}

async fn ticket(address: SocketAddr) -> anyhow::Result<String> {
    let head = "POST /v1/events/ticket HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ann\r\nconnection: close\r\n\r\n";
    let mut text = String::new();
    request(address, head).await?.read_to_string(&mut text).await?;
    Ok(text.split_once("\r\n\r\n").context("a response with a body")?.1.to_owned())
}

async fn request(address: SocketAddr, head: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(head.as_bytes()).await?;
    Ok(stream)
}

/// Reads until `text` has arrived with the end of its line. Returns what was read.
async fn until(stream: &mut TcpStream, text: &str) -> anyhow::Result<String> {
    let mut read = Vec::new();
    loop {
        let so_far = String::from_utf8_lossy(&read);
        if so_far.split_once(text).is_some_and(|(_, rest)| text.ends_with('\n') || rest.contains('\n')) {
            return Ok(so_far.into_owned());
        }
        let read_some = stream.read_buf(&mut read);
        let count = Clock::system().timeout(Duration::from_secs(10), read_some).await??;
        anyhow::ensure!(count > 0, "the server closed the stream");
    }
}
