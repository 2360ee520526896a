//! Hedged calls whose attempts fail, are refused, or take too long.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Instant,
};

use comms_core::{
    ErrorKind,
    clock::Clock,
    context::{Context, Deadline},
    idempotency::MemoryStore,
    resilience::{BulkheadConfig, Guard, Policy, PolicyConfig, RetryBudgetConfig, RetryConfig},
};
use comms_grpc::{Replay, Server, ServerConfig, from_status, keyed, tonic};
use h2::Reason;
use tokio::net::TcpListener;
use tonic::{Code, Request, service::Routes};

use super::{METHOD, after, builder, connect_all, connected, policy, previous_attempts, silent_later};
use crate::{
    h2_peer::{Answer, H2Peer},
    support::{SECOND, TestRequest, TestService, call, millis, start, start_server, unary},
};

/// Each peer executes the call and answers too late. The call ends at its deadline.
#[tokio::test]
async fn a_call_ends_at_its_deadline_if_all_endpoints_are_slow() {
    let peers = [silent_later().await, silent_later().await];
    let channel = builder(&[peers[0].address, peers[1].address]).endpoint_policy(PolicyConfig::none());
    let channel = channel.timeout(millis(400)).build().unwrap();
    while peers.iter().any(|peer| peer.received().is_empty()) {
        call(&channel, "report", 0).await.unwrap();
    }
    let before = peers.iter().map(|peer| peer.received().len()).sum::<usize>();
    let started = Instant::now();
    let statuses = futures::future::join_all((0..10).map(|_| call(&channel, "report", 0))).await;
    assert!(started.elapsed() >= millis(400));
    for status in statuses.into_iter().map(Result::unwrap_err) {
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        assert_eq!(from_status(&status).kind, ErrorKind::Indeterminate);
    }
    assert_eq!(peers.iter().map(|peer| peer.received().len()).sum::<usize>(), before + 20);
    // Each attempt is a failure of its endpoint, and for the breaker of the default policy, which opens at twenty.
    let endpoints = channel.snapshot().endpoints;
    assert!(endpoints.iter().all(|e| (e.failed, e.in_flight) == (10, 0)), "{endpoints:?}");
    let error = from_status(&call(&channel, "report", 0).await.unwrap_err());
    assert_eq!(error.rejection().map(|rejection| rejection.guard), Some(Guard::Breaker));
    assert_eq!(channel.snapshot().hedges[0].hedges, 10, "a refused call is not hedged");
}

/// One endpoint may have executed the call and has lost its answer, the other one refuses it. In turn, each of them gets
/// the first attempt.
#[tokio::test]
async fn a_refusal_does_not_hide_an_attempt_that_may_have_been_executed() {
    let failing = Arc::new(AtomicBool::new(false));
    let peer = |failure: Answer| {
        let failing = failing.clone();
        H2Peer::start(move |_| if failing.load(SeqCst) { failure.clone() } else { Answer::Success })
    };
    let lost = peer(Answer::Reset(Reason::INTERNAL_ERROR)).await;
    let refusing = peer(Answer::Status("14", vec![("comms-not-executed", "not_executed")])).await;
    let channel = builder(&[lost.address, refusing.address]).policy(policy(RetryBudgetConfig::default()));
    let channel = channel.endpoint_policy(PolicyConfig::none()).build().unwrap();
    connect_all(&channel).await;
    failing.store(true, SeqCst);
    let first_attempts = |peer: &H2Peer| previous_attempts(peer).iter().filter(|n| **n == 0).count();
    let before = [first_attempts(&lost), first_attempts(&refusing)];
    for _ in 0..2 {
        let status = call(&channel, "report", 0).await.unwrap_err();
        assert_eq!(from_status(&status).kind, ErrorKind::Indeterminate, "{status:?}");
    }
    assert_eq!([first_attempts(&lost) - before[0], first_attempts(&refusing) - before[1]], [1, 1]);
    assert_eq!(channel.snapshot().hedges[0].hedges, 2);
}

/// The hedge is refused with ABORTED: for example, the first attempt holds the idempotency key of the call.
#[tokio::test]
async fn a_refusal_does_not_cancel_the_attempt_in_flight() {
    let refusal = || Answer::Status("10", vec![("grpc-retry-pushback-ms", "10")]);
    let refusing = H2Peer::start(move |_| refusal()).await;
    let service = TestService::default();
    let server = start(service.clone(), ServerConfig::default()).await;
    let channel = builder(&[server.address, refusing.address]).build().unwrap();
    connect_all(&channel).await;
    let refused = || refusing.received().len();
    let mut answered = 0;
    for _ in 0..2 {
        let before = (service.begun.load(SeqCst), refused());
        match call(&channel, "sleep", 300).await {
            Ok(_) => {
                answered += 1;
                assert_eq!((service.begun.load(SeqCst), refused()), (before.0 + 1, before.1 + 1));
            }
            Err(status) => assert_eq!((status.code(), refused()), (Code::Aborted, before.1 + 1)),
        }
    }
    assert_eq!((answered, service.dropped.load(SeqCst)), (1, 0), "the endpoints take turns");
}

/// Two servers share the store of the replies. The hedge is refused with ABORTED while the first attempt runs.
#[tokio::test]
async fn a_call_with_a_key_is_executed_once_although_it_is_hedged() {
    let (service, store) = (TestService::default(), Arc::new(MemoryStore::new(Clock::system())));
    let replaying = || {
        let replay = Replay::new(store.clone()).method(METHOD);
        start_server(Server::new(Routes::new(service.clone())).replay(replay))
    };
    let (one, other) = (replaying().await, replaying().await);
    let channel = builder(&[one.address, other.address]).build().unwrap();
    connect_all(&channel).await;
    let began = service.begun.load(SeqCst);
    let request = Request::new(TestRequest { action: "sleep".into(), millis: 200 });
    unary(channel.clone(), keyed(request, "order-7").unwrap()).await.unwrap();
    assert_eq!((service.begun.load(SeqCst), service.dropped.load(SeqCst)), (began + 1, 0));
    assert_eq!(channel.snapshot().hedges[0].hedges, 1);
}

#[tokio::test]
async fn a_guard_of_this_process_costs_no_token() {
    let service = TestService::default();
    let server = start(service.clone(), ServerConfig::default()).await;
    let budget = RetryBudgetConfig::default().ratio(0.0).min_per_second(0);
    let config = PolicyConfig::none().retry(RetryConfig::default().budget(budget));
    let full = Policy::new("full", config.bulkhead(BulkheadConfig::new(1))).unwrap();
    let channel = builder(&[server.address]).policy(full.clone()).build().unwrap();
    call(&channel, "sleep", 150).await.unwrap();
    assert_eq!((service.begun.load(SeqCst), full.retry_budget().unwrap().available()), (1, 1));
}

/// A second attempt would be sent at the same time as the first one.
#[tokio::test]
async fn a_call_that_waits_for_a_connection_is_not_hedged() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let policy = policy(RetryBudgetConfig::default().ratio(0.0).min_per_second(0));
    let channel = builder(&[listener.local_addr().unwrap()]).policy(policy.clone()).build().unwrap();
    // The peer is silent until both attempts would wait for its HTTP/2 settings.
    let calling = tokio::spawn(async move { call(&channel, "report", 0).await });
    tokio::time::sleep(millis(150)).await;
    let peer = H2Peer::start_on(listener, |_| Answer::Success);
    calling.await.unwrap().unwrap();
    assert_eq!((peer.received().len(), policy.retry_budget().unwrap().available()), (1, 1));
}

/// gRFC A6: a peer delays or forbids further attempts.
#[tokio::test]
async fn a_pushback_delays_or_stops_further_attempts() {
    let three = || after(30).max_attempts(3);
    let scripted = |value| {
        H2Peer::start(move |n| match n {
            1 => Answer::Silence,
            2 => Answer::Status("14", vec![("grpc-retry-pushback-ms", value)]),
            _ => Answer::Success,
        })
    };
    let peer = scripted("-1").await;
    let channel = builder(&[peer.address]).hedge([METHOD], three()).timeout(millis(400)).build().unwrap();
    call(&channel, "report", 0).await.unwrap();
    let error = from_status(&call(&channel, "report", 0).await.unwrap_err());
    assert_eq!((error.kind, peer.received().len()), (ErrorKind::Indeterminate, 3));

    let peer = scripted("200").await;
    let channel = builder(&[peer.address]).hedge([METHOD], three()).build().unwrap();
    call(&channel, "report", 0).await.unwrap();
    let started = Instant::now();
    call(&channel, "report", 0).await.unwrap();
    assert!(started.elapsed() >= millis(230), "{:?}", started.elapsed());
    assert_eq!(previous_attempts(&peer), [0, 0, 1, 2]);
}

#[tokio::test]
async fn no_attempt_is_sent_whose_delay_reaches_the_deadline() {
    let deadline = |left| Context::default().with_deadline(Deadline::after(left, &Clock::system()));
    for (timeout, is_of_caller) in [(millis(400), false), (SECOND * 5, true)] {
        let builder = |peer: &H2Peer| builder(&[peer.address]).hedge([METHOD], after(400)).timeout(timeout);
        let (peer, channel) = connected(builder).await;
        let context = if is_of_caller { deadline(millis(400)) } else { Context::default() };
        let status = context.scope(call(&channel, "report", 0)).await.unwrap_err();
        assert_eq!((status.code(), peer.received().len()), (Code::DeadlineExceeded, 2));
    }
}
