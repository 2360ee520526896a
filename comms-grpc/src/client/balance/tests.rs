//! The resolution of a host, with a manual clock and answers of the test.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use comms_core::{
    ErrorKind,
    clock::Clock,
    resilience::{Backoff, BreakerConfig, BreakerState, OutlierConfig, OutlierDetector, PolicyConfig},
};
use futures::FutureExt;
use http::{Uri, uri};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
};

use super::{Balance, Balancer, EndpointSet, ResolverSettings, start_resolver};
use crate::client::{
    connect::Connector,
    connection::Exchange,
    endpoint::{Endpoint, Settings},
    keep_alive::KeepAlive,
    request::Origin,
    task::Task,
};

const SECOND: Duration = Duration::from_secs(1);

/// `None` is a look-up that never ends.
type Answers = Arc<Mutex<VecDeque<Option<io::Result<Vec<SocketAddr>>>>>>;

/// A resolution whose answers the test gives. Without an answer, a look-up fails.
struct Rig {
    clock: Clock,
    shared: Arc<Settings>,
    answers: Answers,
    lookups: Arc<Mutex<u32>>,
    set: watch::Receiver<EndpointSet>,
    resolver: Task,
}

impl Rig {
    fn new(first: impl Into<Option<io::Result<Vec<SocketAddr>>>>) -> Self {
        let clock = Clock::manual(SECOND);
        let shared = settings(&clock);
        let answers: Answers = Arc::new(Mutex::new([first.into()].into()));
        let lookups = Arc::new(Mutex::new(0));
        let (given, counted, endpoints) = (answers.clone(), lookups.clone(), shared.clone());
        let resolution = ResolverSettings {
            lookup: Box::new(move || {
                *counted.lock().unwrap() += 1;
                let answer = given.lock().unwrap().pop_front();
                Box::pin(async move {
                    match answer.unwrap_or_else(|| Some(Err(io::Error::other("no answer")))) {
                        Some(answer) => answer,
                        None => std::future::pending().await,
                    }
                })
            }),
            endpoint: Box::new(move |address| endpoint(address, &endpoints)),
            interval: SECOND * 30,
            shared: shared.clone(),
        };
        let (resolver, set) = start_resolver(resolution, &Handle::current());
        Self { clock, shared, answers, lookups, set, resolver }
    }

    fn answer(&self, answer: io::Result<Vec<SocketAddr>>) {
        self.answers.lock().unwrap().push_back(Some(answer));
    }

    fn balancer(&self, max_waiting: usize) -> Balancer {
        Balancer::new(self.set.clone(), Balance::RoundRobin, self.clock.clone(), max_waiting, None, None)
    }

    /// Moves the clock, and lets the resolution go on until it waits.
    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
        settle().await;
    }

    fn lookups(&self) -> u32 {
        *self.lookups.lock().unwrap()
    }

    fn endpoints(&self) -> Arc<[Arc<Endpoint>]> {
        self.set.borrow().endpoints.clone()
    }

    fn ports(&self) -> Vec<u16> {
        self.endpoints().iter().map(|e| e.address.parse::<SocketAddr>().unwrap().port()).collect()
    }
}

async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

fn settings(clock: &Clock) -> Arc<Settings> {
    let keep_alive = KeepAlive::default();
    Arc::new(Settings {
        peer: "peer".into(),
        connector: Connector::new(SECOND, keep_alive),
        connect_timeout: SECOND * 3_600,
        keep_alive,
        backoff: Backoff::default(),
        max_waiting: 16,
        guards: PolicyConfig::none(),
        detector: OutlierDetector::new("peer", OutlierConfig::default(), clock.clone()).ok(),
        health_check: None,
        clock: clock.clone(),
        runtime: Handle::current(),
        trouble: Notify::new(),
    })
}

fn endpoint(address: SocketAddr, shared: &Arc<Settings>) -> Arc<Endpoint> {
    let authority = uri::Authority::from_static("peer:1");
    let origin = Origin { scheme: uri::Scheme::HTTP, authority };
    let uri = Uri::try_from(format!("http://{address}")).unwrap();
    Arc::new(Endpoint::new(address.to_string(), origin, uri, shared.clone()))
}

fn addresses(ports: &[u16]) -> io::Result<Vec<SocketAddr>> {
    Ok(ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect())
}

#[tokio::test]
async fn an_endpoint_that_stays_is_kept_and_the_others_are_replaced() {
    let rig = Rig::new(addresses(&[2, 1, 2]));
    settle().await;
    assert_eq!(rig.ports(), [1, 2], "in the order of the addresses, each once");
    let before = rig.endpoints();
    rig.answer(addresses(&[3, 2]));
    rig.advance(SECOND * 5).await;
    rig.advance(SECOND * 25).await;
    assert_eq!(rig.ports(), [2, 3]);
    assert!(Arc::ptr_eq(&before[1], &rig.endpoints()[0]), "with its connection");
}

/// A stream that outlives its endpoint would keep it in the number of hosts, of which a share may be ejected.
#[tokio::test]
async fn an_endpoint_that_leaves_the_answer_leaves_outlier_detection() {
    let rig = Rig::new(addresses(&[1, 2]));
    settle().await;
    let stream = rig.endpoints()[0].admit().ok().and_then(|admission| admission.end(None));
    assert!(stream.is_some());
    rig.answer(addresses(&[2]));
    rig.advance(SECOND * 5).await;
    rig.advance(SECOND * 25).await;
    let hosts = rig.shared.detector.as_ref().unwrap().snapshot();
    assert_eq!(hosts.iter().map(|host| &*host.host).collect::<Vec<_>>(), ["127.0.0.1:2"]);
}

#[tokio::test]
async fn failures_and_refusals_count_as_load_and_unprocessed_attempts_do_not() {
    let clock = Clock::manual(SECOND);
    let endpoint = endpoint(addresses(&[1]).unwrap()[0], &settings(&clock));
    let admit = || endpoint.admit().ok().unwrap();
    let held = admit();
    admit().withdraw();
    drop(admit());
    for kind in [None, Some(ErrorKind::NotFound), Some(ErrorKind::Invalid)] {
        drop(admit().end(kind));
    }
    assert_eq!(endpoint.load(), (false, 1), "the attempt that is held");
    for kind in [ErrorKind::Rejected, ErrorKind::NotExecuted, ErrorKind::Indeterminate] {
        drop(admit().end(Some(kind)));
    }
    assert_eq!(endpoint.load(), (false, 4));
    drop(held);
    clock.advance(SECOND * 30);
    assert_eq!(endpoint.load(), (false, 0));
}

#[tokio::test]
async fn a_peer_that_reports_the_end_of_the_callers_deadline_is_no_failure_for_the_breaker() {
    let clock = Clock::manual(SECOND);
    let mut settings = Arc::into_inner(settings(&clock)).unwrap();
    settings.guards = PolicyConfig::none().breaker(BreakerConfig::default());
    let endpoint = endpoint(addresses(&[1]).unwrap()[0], &Arc::new(settings));
    for (is_callers, state) in [(true, BreakerState::Closed), (false, BreakerState::Open)] {
        for _ in 0..5 {
            let mut admission = endpoint.admit().ok().unwrap();
            admission.count_start(clock.now(), is_callers, Exchange::unsent().unwrap());
            drop(admission.end(Some(ErrorKind::Indeterminate)));
        }
        assert_eq!(endpoint.breaker_snapshot().unwrap().state, state);
    }
}

#[tokio::test]
async fn a_failed_or_empty_resolution_keeps_the_endpoints() {
    let rig = Rig::new(addresses(&[1]));
    settle().await;
    for answer in [Err(io::Error::other("no server")), addresses(&[])] {
        rig.answer(answer);
        let lookups = rig.lookups();
        rig.advance(SECOND * 5).await;
        rig.advance(SECOND * 25).await;
        assert_eq!((rig.lookups(), rig.ports()), (lookups + 1, vec![1]));
        assert!(rig.set.borrow().problem.is_some());
    }
}

#[tokio::test]
async fn trouble_resolves_again_but_not_within_five_seconds() {
    let rig = Rig::new(addresses(&[1]));
    settle().await;
    rig.shared.trouble.notify_one();
    rig.advance(SECOND * 4).await;
    assert_eq!(rig.lookups(), 1);
    rig.advance(SECOND).await;
    assert_eq!(rig.lookups(), 2);
    // Without trouble, the next resolution comes after the interval.
    rig.advance(SECOND * 5).await;
    rig.advance(SECOND * 24).await;
    assert_eq!(rig.lookups(), 2);
    rig.advance(SECOND).await;
    assert_eq!(rig.lookups(), 3);
}

#[tokio::test]
async fn calls_wait_for_the_first_resolution_and_fail_with_its_reason() {
    let rig = Rig::new(Err(io::Error::other("no server")));
    let balancer = rig.balancer(16);
    let reason = balancer.resolved().await.unwrap_err().reason;
    assert!(reason.contains("no server"), "{reason}");
    rig.answer(addresses(&[1]));
    rig.advance(SECOND * 5).await;
    rig.advance(SECOND * 25).await;
    assert_eq!(balancer.resolved().await.map(|endpoints| endpoints.len()).ok(), Some(1));
}

#[tokio::test]
async fn a_look_up_that_never_ends_is_given_up_and_repeated() {
    let rig = Rig::new(None);
    settle().await;
    let balancer = rig.balancer(16);
    assert!(balancer.resolved().now_or_never().is_none());
    rig.advance(SECOND * 10).await;
    let reason = balancer.resolved().await.unwrap_err().reason;
    assert!(reason.contains("10 s"), "{reason}");
    rig.answer(addresses(&[1]));
    rig.advance(SECOND * 5).await;
    assert_eq!((rig.lookups(), rig.ports()), (2, vec![1]));
}

#[tokio::test]
async fn the_calls_that_wait_for_the_first_resolution_are_bounded() {
    let rig = Rig::new(None);
    settle().await;
    let balancer = rig.balancer(1);
    let mut first = Box::pin(balancer.resolved());
    assert!(first.as_mut().now_or_never().is_none());
    assert!(balancer.resolved().await.unwrap_err().crowded);
    drop(first);
    assert!(balancer.resolved().now_or_never().is_none());
}

/// The old endpoint accepts connections and never speaks. A resolution with the same addresses changes nothing.
#[tokio::test]
async fn a_call_that_waits_for_an_endpoint_chooses_again_when_the_endpoints_change() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let rig = Rig::new(addresses(&[port]));
    settle().await;
    let balancer = rig.balancer(16);
    let endpoints = balancer.current();
    let Err(unusable) = balancer.choose(&endpoints, &[]) else { panic!("there is no connection") };
    let mut waiting = Box::pin(balancer.wait(&endpoints, unusable, false));
    for (answer, is_woken) in [(&[port][..], false), (&[port, 1][..], true)] {
        assert!(waiting.as_mut().now_or_never().is_none());
        rig.answer(addresses(answer));
        rig.advance(SECOND * 5).await;
        rig.advance(SECOND * 25).await;
        if is_woken {
            assert!(waiting.as_mut().now_or_never().unwrap().is_ok_and(|choice| choice.is_none()));
        }
    }
    assert_eq!(rig.lookups(), 3);
}

#[tokio::test]
async fn the_resolution_ends_with_the_channel() {
    let rig = Rig::new(addresses(&[1]));
    settle().await;
    let (resolver, set) = (rig.resolver, rig.set);
    drop(resolver);
    settle().await;
    assert!(set.has_changed().is_err(), "the task has ended");
}
