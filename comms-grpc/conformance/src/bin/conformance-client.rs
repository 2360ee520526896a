//! The client that the runner starts. It makes the calls that it reads from standard input, several at a time, and ends
//! after the last one.

use std::{error::Error, io, sync::Arc};

use comms_grpc_conformance::{client, proto::ClientCompatRequest, runner};
use tokio::{
    io::{Stdout, stdin, stdout},
    sync::{Mutex, Semaphore},
    task::JoinSet,
};

/// The maximum number of concurrent calls. The suite is mostly waits.
const CALLS: usize = 16;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    comms_grpc_conformance::install_provider();
    let mut input = stdin();
    let output = Arc::new(Mutex::new(stdout()));
    let permits = Arc::new(Semaphore::new(CALLS));
    let mut calls = JoinSet::new();
    while let Some(request) = runner::read::<ClientCompatRequest>(&mut input).await? {
        let permit = permits.clone().acquire_owned().await?;
        let output = output.clone();
        calls.spawn(async move {
            let result = answer(request, &output).await;
            drop(permit);
            result
        });
    }
    while let Some(result) = calls.join_next().await {
        result??;
    }
    Ok(())
}

async fn answer(request: ClientCompatRequest, output: &Mutex<Stdout>) -> io::Result<()> {
    let response = client::respond(request).await;
    runner::write(&mut *output.lock().await, &response).await
}
