#![allow(clippy::disallowed_methods, reason = "the tests use tokio's paused time")]

mod adaptive;

use std::time::Duration;

use proptest::prelude::*;
use tower::{Layer, ServiceExt, service_fn};

use super::*;
use crate::{
    ErrorKind,
    context::Context as CallContext,
    resilience::{Guard, Rejection},
};
use Priority::{Batch, Critical, Standard};

fn shedder(limit: u32) -> (Shedder, Clock) {
    let clock = Clock::manual(Duration::ZERO);
    (Shedder::new("s", ShedConfig::fixed(limit), clock.clone()).unwrap(), clock)
}

/// Acquires permits of `priority` until one is refused.
fn fill(shedder: &Shedder, priority: Priority) -> Vec<ShedPermit> {
    std::iter::from_fn(|| shedder.try_acquire(priority).ok()).collect()
}

#[test]
fn each_priority_is_admitted_up_to_its_share_of_the_limit() {
    let table = [(1, [1, 1, 1]), (2, [1, 1, 2]), (10, [6, 9, 10]), (11, [6, 9, 11]), (200, [120, 180, 200])];
    for (limit, admitted) in table {
        for (priority, expected) in [Batch, Standard, Critical].into_iter().zip(admitted) {
            let (shedder, _) = shedder(limit);
            assert_eq!(fill(&shedder, priority).len(), expected, "{priority:?} of {limit}");
            assert_eq!(shedder.in_flight(), InFlight::default(), "every permit was released");
        }
    }
}

#[test]
fn lower_priorities_leave_a_permit_to_critical_requests() {
    for limit in 10..100 {
        let (shedder, _) = shedder(limit);
        let held = [fill(&shedder, Batch), fill(&shedder, Standard)];
        assert!(shedder.try_acquire(Critical).is_ok(), "{limit}: {}", held.iter().flatten().count());
    }
}

#[test]
fn critical_requests_push_batch_and_standard_requests_out() {
    let (shedder, _) = shedder(10);
    let critical: Vec<_> = (0..9).map(|_| shedder.try_acquire(Critical).unwrap()).collect();
    assert!(shedder.try_acquire(Batch).is_err() && shedder.try_acquire(Standard).is_err());
    drop(critical);
    let snapshot = shedder.snapshot();
    assert_eq!((snapshot.shed_batch, snapshot.shed_standard, snapshot.shed_critical), (1, 1, 0));
}

#[test]
fn a_rejection_names_the_guard_and_a_wait_with_jitter() {
    let (shedder, _) = shedder(1);
    let _permit = shedder.try_acquire(Standard).unwrap();
    let waits: Vec<_> = (0..200)
        .map(|_| {
            let rejection = shedder.try_acquire(Critical).unwrap_err();
            assert_eq!((rejection.name, rejection.guard), ("s", Guard::Shed));
            assert_eq!(Error::from(rejection).kind, ErrorKind::Rejected);
            rejection.retry_after.unwrap().as_secs_f64()
        })
        .collect();
    assert!(waits.iter().all(|wait| (0.5..1.5).contains(wait)));
    assert!(waits.iter().any(|wait| *wait < 0.6) && waits.iter().any(|wait| *wait > 1.4));
}

/// A check refuses as an acquisition does, and takes no permit.
#[test]
fn a_check_acquires_no_permit() {
    let (shedder, _) = shedder(10);
    for _ in 0..20 {
        shedder.check(Standard).unwrap();
    }
    assert_eq!(shedder.in_flight(), InFlight::default());
    let _held = fill(&shedder, Standard);
    shedder.check(Critical).unwrap();
    let shed = shedder.snapshot().shed_standard;
    assert_eq!(shedder.check(Standard).unwrap_err().guard, Guard::Shed);
    assert_eq!(shedder.snapshot().shed_standard, shed + 1);
}

#[test]
fn new_settings_take_effect_at_once_and_permits_stay_in_use() {
    let (shedder, _) = shedder(10);
    let mut held = fill(&shedder, Critical);
    shedder.configure(ShedConfig::fixed(4)).unwrap();
    assert_eq!((shedder.limit(), shedder.in_flight().total()), (4, 10));
    held.truncate(4);
    assert!(shedder.try_acquire(Critical).is_err());
    held.truncate(3);
    assert!(shedder.try_acquire(Critical).is_ok());
    assert!(shedder.configure(ShedConfig::fixed(0)).is_err());
    assert_eq!(shedder.limit(), 4, "invalid settings change nothing");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let adaptive = |change: fn(AdaptiveLimitConfig) -> AdaptiveLimitConfig| {
        ShedConfig::default().limit(ShedLimit::Adaptive(change(AdaptiveLimitConfig::default())))
    };
    let refused = [
        ShedConfig::fixed(0),
        ShedConfig::fixed(1 << 20),
        ShedConfig::default().batch_share(0.0),
        ShedConfig::default().batch_share(0.95),
        ShedConfig::default().standard_share(1.1),
        ShedConfig::default().standard_share(f64::NAN),
        ShedConfig::default().retry_after(Duration::MAX),
        adaptive(|c| c.min(0)),
        adaptive(|c| c.max(1 << 20)),
        adaptive(|c| c.initial(9)),
        adaptive(|c| c.initial(201)),
        adaptive(|c| c.window(Duration::ZERO)),
        adaptive(|c| c.window(Duration::MAX)),
        adaptive(|c| c.min_samples(0)),
        adaptive(|c| c.tolerance(0.9)),
        adaptive(|c| c.tolerance(f64::INFINITY)),
        adaptive(|c| c.smoothing(0.0)),
    ];
    for config in refused {
        assert_eq!(config.validate().unwrap_err().kind, ErrorKind::Invalid, "{config:?}");
    }
    ShedConfig::adaptive().validate().unwrap();
}

#[test]
fn settings_are_read_from_text_and_unknown_keys_are_refused() {
    let config: ShedConfig = serde_json::from_str(r#"{"limit": {"fixed": 7}, "retry_after": "2s"}"#).unwrap();
    assert_eq!(config, ShedConfig::fixed(7).retry_after(Duration::from_secs(2)));
    let config: ShedConfig = serde_json::from_str(r#"{"limit": {"adaptive": {"max": 50}}}"#).unwrap();
    assert_eq!(config.limit, ShedLimit::Adaptive(AdaptiveLimitConfig::default().max(50)));
    let written = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<ShedConfig>(&written).unwrap(), config);
    assert!(serde_json::from_str::<ShedConfig>(r#"{"limits": 7}"#).is_err());
    assert!(serde_json::from_str::<ShedConfig>(r#"{"limit": {"adaptive": {"maximum": 50}}}"#).is_err());
}

#[tokio::test]
async fn the_layer_sheds_by_the_priority_of_the_context_and_a_dropped_call_releases_its_permit() {
    let (shedder, _) = shedder(10);
    let (pending, _held) =
        (service_fn(|()| std::future::pending::<Result<(), Error>>()), fill(&shedder, Batch));
    let service = shedder.layer().layer(pending);
    let with = |priority| CallContext::default().with_priority(priority).scope(service.clone().oneshot(()));
    let refused = with(Batch).await.unwrap_err();
    assert_eq!(refused.rejection().unwrap().guard, Guard::Shed);
    let mut admitted = Box::pin(with(Critical));
    assert!(futures_util::poll!(admitted.as_mut()).is_pending());
    assert_eq!(shedder.in_flight().critical, 1);
    drop(admitted);
    assert_eq!(shedder.in_flight().critical, 0);
}

#[test]
fn threads_share_the_limit() {
    let (shedder, _) = shedder(7);
    std::thread::scope(|scope| {
        for priority in [Batch, Standard, Critical, Critical] {
            let shedder = &shedder;
            scope.spawn(move || {
                for _ in 0..20_000 {
                    let permit = shedder.try_acquire(priority);
                    assert!(shedder.in_flight().total() <= 7);
                    drop(permit);
                }
            });
        }
    });
    assert_eq!(shedder.in_flight(), InFlight::default());
}

proptest! {
    /// Admission depends only on the total in flight and the share of the priority.
    #[test]
    fn admits_exactly_below_the_share_of_the_priority(
        limit in 1u32..60, steps in prop::collection::vec((0usize..3, any::<bool>()), 0..200)
    ) {
        let (shedder, _) = shedder(limit);
        let bound = |share: f64| ((f64::from(limit) * share + 1e-9) as u32).max(1);
        let bounds = [bound(0.6), bound(0.9), limit];
        let mut held: [Vec<ShedPermit>; 3] = Default::default();
        for (index, acquire) in steps {
            let priority = [Batch, Standard, Critical][index];
            if acquire {
                let total = shedder.in_flight().total();
                let permit = shedder.try_acquire(priority);
                prop_assert_eq!(permit.is_ok(), total < bounds[index]);
                held[index].extend(permit);
            } else {
                held[index].pop();
            }
            let InFlight { batch, standard, critical } = shedder.in_flight();
            prop_assert_eq!([batch, standard, critical].map(|n| n as usize), [0, 1, 2].map(|i| held[i].len()));
        }
    }
}
