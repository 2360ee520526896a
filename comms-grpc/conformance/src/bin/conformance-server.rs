//! The server that the runner starts. It serves until SIGTERM.

use std::error::Error;

use comms_grpc_conformance::{
    proto::{ServerCompatRequest, ServerCompatResponse},
    runner, server,
};
use tokio::{
    io::{stdin, stdout},
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    comms_grpc_conformance::install_provider();
    let mut terminated = signal(SignalKind::terminate())?;
    let request: ServerCompatRequest =
        runner::read(&mut stdin()).await?.ok_or("no request on standard input")?;
    let tls = server::tls(&request)?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let response = ServerCompatResponse {
        host: address.ip().to_string(),
        port: address.port().into(),
        pem_cert: request.server_creds.filter(|_| request.use_tls).unwrap_or_default().cert,
    };
    runner::write(&mut stdout(), &response).await?;
    let limit = usize::try_from(request.message_receive_limit)?;
    let shutdown = async move {
        terminated.recv().await;
    };
    server::run(listener, (limit > 0).then_some(limit), tls, shutdown).await?;
    Ok(())
}
