//! A chain of services A -> B -> C: the deadline shrinks from hop to hop, and a caller that is gone ends all work.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use comms_core::{
    ErrorKind,
    clock::Clock,
    context::{Context, Deadline},
};
use comms_grpc::{Channel, ServerConfig, from_status, tonic};
use tokio::{runtime::Runtime, task::JoinHandle, time::timeout};
use tonic::{Code, Status};

use crate::support::{Observation, RunningServer, SECOND, TestService, call, eventually, millis, start};

/// Three services. The last one answers at once, or never.
struct Chain {
    a: TestService,
    b: TestService,
    c: TestService,
    a_server: RunningServer,
    _b_and_c: [RunningServer; 2],
}

impl Chain {
    /// Starts the services; A on `runtime`, so that A ends as a process does when `runtime` is shut down.
    async fn start(runtime: &Runtime) -> Self {
        let c = TestService::default();
        let c_server = start(c.clone(), ServerConfig::default()).await;
        // The limits of the channels are far longer than the deadline of the first caller.
        let b = TestService { next: Some(c_server.channel(SECOND * 20)), ..TestService::default() };
        let b_server = start(b.clone(), ServerConfig::default()).await;
        let address = b_server.address;
        let starting = runtime.spawn(async move {
            let next = Some(crate::support::channel(address, SECOND * 20));
            let a = TestService { next, ..TestService::default() };
            (a.clone(), start(a, ServerConfig::default()).await)
        });
        let (a, a_server) = starting.await.unwrap();
        Self { a, b, c, a_server, _b_and_c: [b_server, c_server] }
    }

    fn channel(&self) -> Channel {
        self.a_server.channel(SECOND * 20)
    }

    async fn c_runs(&self) {
        eventually("the handler of C runs", || self.c.begun.load(SeqCst) == 1).await;
    }

    /// Checks that the handlers were dropped and that no call was made again.
    async fn expect_end(&self, services: &[&TestService]) {
        let dropped = |service: &&TestService| service.dropped.load(SeqCst) == 1;
        eventually("the handlers are dropped", || services.iter().all(dropped)).await;
        tokio::time::sleep(millis(100)).await;
        for service in [&self.a, &self.b, &self.c] {
            assert_eq!(service.begun.load(SeqCst), 1, "no call was repeated");
        }
    }
}

/// Calls A under a deadline of `limit`. With `hang`, C does not answer.
async fn call_a(channel: Channel, limit: Duration, hang: bool) -> Result<Observation, Status> {
    let clock = Clock::system();
    let context = Context::root(&clock).with_deadline(Deadline::after(limit, &clock));
    context.scope(call(&channel, "pass on", u64::from(hang))).await
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[tokio::test]
async fn each_service_sees_what_is_left_of_300_ms() {
    let runtime = runtime();
    let chain = Chain::start(&runtime).await;
    // A slow machine may need longer than 300 ms for the first connections.
    let mut seen = call_a(chain.channel(), SECOND * 10, false).await;
    for _ in 0..10 {
        seen = call_a(chain.channel(), millis(300), false).await;
        if seen.is_ok() {
            break;
        }
    }
    let a = seen.unwrap();
    let b = a.next.as_deref().unwrap();
    let c = b.next.as_deref().unwrap();
    let left = [&a, b, c].map(|seen| Duration::from_micros(seen.remaining_micros));
    assert!(
        left[0] <= millis(300) && left[1] < left[0] && left[2] < left[1] && !left[2].is_zero(),
        "{left:?}"
    );
    runtime.shutdown_background();
}

#[tokio::test]
async fn the_deadline_of_the_first_caller_ends_the_handlers_of_all_services() {
    let runtime = runtime();
    let chain = Chain::start(&runtime).await;
    let calling = tokio::spawn(call_a(chain.channel(), SECOND, true));
    chain.c_runs().await;
    let status = timeout(SECOND * 10, calling).await.expect("ends in time").unwrap().unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    chain.expect_end(&[&chain.a, &chain.b, &chain.c]).await;
    runtime.shutdown_background();
}

#[tokio::test]
async fn a_caller_that_cancels_ends_the_handlers_of_all_services() {
    let runtime = runtime();
    let chain = Chain::start(&runtime).await;
    let calling: JoinHandle<_> = tokio::spawn(call_a(chain.channel(), SECOND * 20, true));
    chain.c_runs().await;
    calling.abort();
    chain.expect_end(&[&chain.a, &chain.b, &chain.c]).await;
    runtime.shutdown_background();
}

#[tokio::test]
async fn a_caller_whose_process_ends_ends_the_handlers_of_all_services() {
    let (runtime, caller) = (runtime(), runtime());
    let chain = Chain::start(&runtime).await;
    let address = chain.a_server.address;
    caller
        .spawn(async move { call_a(crate::support::channel(address, SECOND * 20), SECOND * 20, true).await });
    chain.c_runs().await;
    caller.shutdown_background();
    chain.expect_end(&[&chain.a, &chain.b, &chain.c]).await;
    runtime.shutdown_background();
}

#[tokio::test]
async fn the_end_of_the_first_service_ends_the_handlers_behind_it() {
    let runtime = runtime();
    let chain = Chain::start(&runtime).await;
    let calling = tokio::spawn(call_a(chain.channel(), SECOND * 20, true));
    chain.c_runs().await;
    runtime.shutdown_background();
    chain.expect_end(&[&chain.b, &chain.c]).await;
    let status = timeout(SECOND * 10, calling).await.expect("ends with the connection").unwrap().unwrap_err();
    assert_eq!(from_status(&status).kind, ErrorKind::Indeterminate, "{status:?}");
}
