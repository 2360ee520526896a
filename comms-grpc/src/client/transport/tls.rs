//! Makes the TLS handshake on each new connection of a channel.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use comms_core::{BoxError, Error, clock::Clock};
use http::Uri;
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use tokio::net::TcpStream;
use tower_service::Service;

use crate::tls::{ClientHandshake, ClientStream, ClientTls};

/// Connects over TCP, and makes the handshake.
#[derive(Debug, Clone)]
pub(in crate::client) struct TlsConnector {
    tcp: HttpConnector,
    handshake: Arc<ClientHandshake>,
    clock: Clock,
    timeout: Duration,
}

impl TlsConnector {
    /// Loads the certificates. `timeout` limits the connection and the handshake together.
    pub(in crate::client) fn new(
        mut tcp: HttpConnector,
        tls: &ClientTls,
        timeout: Duration,
        clock: &Clock,
    ) -> Result<Self, Error> {
        tcp.enforce_http(false);
        Ok(Self { tcp, handshake: Arc::new(tls.start(clock)?), clock: clock.clone(), timeout })
    }
}

impl Service<Uri> for TlsConnector {
    type Response = TokioIo<ClientStream<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let host = target.host().unwrap_or_default().to_owned();
        let (connect, handshake) = (self.tcp.call(target), self.handshake.clone());
        let (clock, timeout) = (self.clock.clone(), self.timeout);
        Box::pin(async move {
            let connected = async {
                let socket = connect.await?.into_inner();
                Ok(TokioIo::new(handshake.connect(&host, socket).await?))
            };
            match clock.timeout(timeout, connected).await {
                Ok(connected) => connected,
                Err(elapsed) => Err(format!("no connection: {elapsed}").into()),
            }
        })
    }
}
