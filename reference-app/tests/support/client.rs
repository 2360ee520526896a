//! A client of the marketplace: places orders over HTTP, and receives their events over a WebSocket.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{SinkExt, StreamExt};
use reqwest::{Response, StatusCode, header};
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::OnceCell};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message, client::IntoClientRequest},
};

#[derive(Clone)]
pub struct Buyer {
    pub user: String,
    pub token: String,
    gateway: String,
    socket: String,
    http: reqwest::Client,
    /// The ads that the buyers of this marketplace order.
    pub ads: Ads,
}

/// The ids of the ads that were created for orders, by price. Clones share them.
#[derive(Clone, Default)]
pub struct Ads(Arc<Mutex<HashMap<i64, Arc<OnceCell<String>>>>>);

/// An acknowledged order.
#[derive(Debug, Clone)]
pub struct Placed {
    pub order_id: String,
    pub trace_id: String,
    pub location: String,
    pub replayed: bool,
}

pub struct Socket(pub WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Buyer {
    pub fn new(user: &str, token: String, gateway: &str, socket: &str) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
        Self {
            user: user.to_owned(),
            token,
            gateway: gateway.to_owned(),
            socket: socket.to_owned(),
            http,
            ads: Ads::default(),
        }
    }

    /// Returns a valid order of a demonstration ad, whose price is another one unless `minor` is 129,900.
    pub fn body(minor: i64) -> Value {
        order_of("bike-42", minor)
    }

    /// Returns an order of an ad with this price, which is created at the first call.
    pub async fn order(&self, minor: i64) -> Value {
        let ad = self.ads.0.lock().unwrap().entry(minor).or_default().clone();
        let key = format!("ad-{minor}");
        let create = || self.create_ad(&key, minor, 1_000_000);
        order_of(ad.get_or_init(create).await, minor)
    }

    /// Creates an ad with `stock` pieces, with retries under the same key. Returns its id.
    pub async fn create_ad(&self, key: &str, minor: i64, stock: u32) -> String {
        let price = json!({"minor": minor, "currency": "RUB"});
        let body = json!({"title": key, "price": price, "stock": stock}).to_string();
        let created = self.retried("/v1/ads", key, &body, StatusCode::CREATED).await;
        let ad: Value = created.json().await.unwrap();
        ad["ad_id"].as_str().unwrap().to_owned()
    }

    /// Sends one `POST /v1/orders`.
    pub async fn post(&self, key: Option<&str>, body: String) -> reqwest::Result<Response> {
        self.post_to("/v1/orders", key, body).await
    }

    async fn post_to(&self, path: &str, key: Option<&str>, body: String) -> reqwest::Result<Response> {
        let mut request = self
            .http
            .post(format!("{}{path}", self.gateway))
            .bearer_auth(&self.token)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        request.send().await
    }

    pub async fn get(&self, path: &str) -> reqwest::Result<Response> {
        self.http.get(format!("{}{path}", self.gateway)).bearer_auth(&self.token).send().await
    }

    /// Places an order of an ad with this price. The first attempt must be accepted.
    pub async fn place(&self, key: &str, minor: i64) -> Placed {
        let order = self.order(minor).await;
        let response = self.post(Some(key), order.to_string()).await.unwrap();
        assert_eq!(response.status(), StatusCode::ACCEPTED, "{:?}", response.text().await);
        placed(response).await
    }

    /// Places an order of an ad with this price, with retries under the same key, for tests with crashes and outages.
    pub async fn place_with_retries(&self, key: &str, minor: i64) -> Placed {
        let order = self.order(minor).await;
        self.place_order(key, &order).await
    }

    /// Places an order with this body, with retries under the same key.
    pub async fn place_order(&self, key: &str, order: &Value) -> Placed {
        placed(self.retried("/v1/orders", key, &order.to_string(), StatusCode::ACCEPTED).await).await
    }

    /// Sends a request until its response has the status `done`. Retries server errors, 409 and requests without a
    /// response; any other refusal fails the test.
    async fn retried(&self, path: &str, key: &str, body: &str, done: StatusCode) -> Response {
        for _ in 0..1_200 {
            if let Ok(response) = self.post_to(path, Some(key), body.to_owned()).await {
                match response.status() {
                    status if status == done => return response,
                    status if status.is_server_error() || status == StatusCode::CONFLICT => {}
                    status => panic!("{path}: {status}: {:?}", response.text().await),
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{path}: {key} was not accepted in 1,200 attempts");
    }

    /// Returns the URL of the event stream over HTTP.
    pub fn events_url(&self) -> String {
        format!("{}/v1/events", self.socket.replacen("ws", "http", 1))
    }

    /// Opens a socket, with the buyer's token in the header.
    pub async fn socket(&self) -> Socket {
        self.try_socket(Some(&self.token)).await.unwrap()
    }

    pub async fn try_socket(&self, token: Option<&str>) -> Result<Socket, tungstenite::Error> {
        self.try_socket_with("", token).await
    }

    /// As [`Buyer::try_socket`], with `query` after the path, which begins with `?`.
    pub async fn try_socket_with(
        &self,
        query: &str,
        token: Option<&str>,
    ) -> Result<Socket, tungstenite::Error> {
        let mut request = format!("{}/v1/events{query}", self.socket).into_client_request()?;
        if let Some(token) = token {
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        Ok(Socket(connect_async(request).await?.0))
    }
}

impl Socket {
    /// Returns the next frame of type `event`, or `None` at the end.
    pub async fn event(&mut self) -> Option<Value> {
        loop {
            let frame = self.frame().await?;
            if frame["type"] == "event" {
                return Some(frame);
            }
        }
    }

    /// Returns the next frame, or `None` at the end.
    pub async fn frame(&mut self) -> Option<Value> {
        loop {
            match self.0.next().await? {
                Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).unwrap()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    pub async fn send(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// Subscribes to `topic`, and returns the answer. Frames before it are skipped.
    pub async fn subscribe(&mut self, topic: &str) -> Value {
        self.send(json!({"type": "subscribe", "topic": topic})).await;
        loop {
            let frame = self.frame().await.expect("the socket stays open");
            if frame["type"] == "subscribed" || frame["type"] == "error" {
                return frame;
            }
        }
    }

    /// Returns the close code of the server. Fails the test after 10 s.
    pub async fn close_code(&mut self) -> Option<u16> {
        let end = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Close(Some(frame)))) => return Some(frame.code.into()),
                    Some(Ok(_)) => {}
                    _ => return None,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), end).await.expect("the socket ends")
    }

    /// Returns the events of `order_id` up to the one with `status`. Fails the test after 30 s.
    pub async fn until(&mut self, order_id: &str, status: &str) -> Vec<Value> {
        let mut seen = Vec::new();
        let all = async {
            loop {
                let event = self.event().await.expect("the socket stays open");
                if event["data"]["order_id"] == order_id {
                    let last = event["data"]["status"] == status;
                    seen.push(event);
                    if last {
                        return;
                    }
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), all).await.unwrap_or_else(|_| panic!("no {status}"));
        seen
    }
}

/// Returns the body of an order of one piece.
fn order_of(ad_id: &str, minor: i64) -> Value {
    json!({"ad_id": ad_id, "quantity": 1, "price": {"minor": minor, "currency": "RUB"}})
}

/// Reads an accepted order from the response.
async fn placed(response: Response) -> Placed {
    let header =
        |name: &str| response.headers().get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    let (trace_id, location) = (header("trace-id"), header("location"));
    let replayed = header("idempotent-replayed") == "true";
    let body: Value = response.json().await.unwrap();
    Placed { order_id: body["order_id"].as_str().unwrap().to_owned(), trace_id, location, replayed }
}
