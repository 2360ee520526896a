#![allow(clippy::disallowed_methods, reason = "a test uses tokio's paused time")]

mod properties;
mod rules;

use std::time::Duration;

use super::*;
use crate::ErrorKind;

const SECOND: Duration = Duration::from_secs(1);

/// A detector with hosts, and the clock of both.
struct Rig {
    clock: Clock,
    detector: OutlierDetector,
    hosts: Vec<OutlierHost>,
}

impl Rig {
    fn new(hosts: usize, config: OutlierConfig) -> Self {
        let clock = Clock::manual(Duration::ZERO);
        let detector = OutlierDetector::new("d", config, clock.clone()).unwrap();
        let hosts = (0..hosts).map(|index| detector.add(&format!("h{index}"))).collect();
        Self { clock, detector, hosts }
    }

    /// Records calls of each host: (successes, failures).
    fn calls(&self, calls: &[(u32, u32)]) {
        for (host, (successes, failures)) in self.hosts.iter().zip(calls) {
            (0..*successes).for_each(|_| host.record(true));
            (0..*failures).for_each(|_| host.record(false));
        }
    }

    /// Advances to the next sweep and returns its changes as text: `-h1` for an ejection, `+h1` for a return.
    fn sweep(&self) -> Vec<String> {
        self.clock.advance(10 * SECOND);
        let sign = |change: &OutlierChange| if change.ejected.is_some() { "-" } else { "+" };
        self.detector.sweep().iter().map(|change| format!("{}{}", sign(change), change.host)).collect()
    }

    fn ejected(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|index| self.hosts[*index].is_ejected()).collect()
    }
}

fn success_rate_only() -> OutlierConfig {
    OutlierConfig::default().failure_percentage(None)
}

fn failure_percentage_only() -> OutlierConfig {
    OutlierConfig::default().success_rate(None)
}

fn consecutive_only() -> OutlierConfig {
    OutlierConfig::default().success_rate(None).failure_percentage(None).consecutive_failures(5)
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refused = [
        success_rate_only().success_rate(None),
        OutlierConfig::default().interval(Duration::ZERO),
        OutlierConfig::default().interval(Duration::MAX),
        OutlierConfig::default().base_ejection_time(Duration::ZERO),
        OutlierConfig::default().max_ejection_time(Duration::MAX),
        OutlierConfig::default().max_ejection_percent(101),
        OutlierConfig::default().success_rate(SuccessRateConfig::default().enforcement_percentage(101)),
        OutlierConfig::default().success_rate(SuccessRateConfig::default().stdev_factor(-1.0)),
        OutlierConfig::default().success_rate(SuccessRateConfig::default().request_volume(0)),
        OutlierConfig::default().failure_percentage(FailurePercentageConfig::default().threshold(101)),
        OutlierConfig::default().failure_percentage(FailurePercentageConfig::default().request_volume(0)),
    ];
    for config in refused {
        assert_eq!(config.validate().unwrap_err().kind, ErrorKind::Invalid, "{config:?}");
    }
    consecutive_only().validate().unwrap();
}

#[test]
fn settings_are_read_from_text_and_unknown_keys_are_refused() {
    let read = serde_json::from_str::<OutlierConfig>;
    let config = read(r#"{"interval": "5s", "success_rate": false, "consecutive_failures": 3}"#);
    let expected = failure_percentage_only().interval(5 * SECOND).consecutive_failures(3);
    assert_eq!(config.unwrap(), expected);
    let written = serde_json::to_string(&expected).unwrap();
    assert_eq!(serde_json::from_str::<OutlierConfig>(&written).unwrap(), expected);
    assert!(read(r#"{"intervall": "5s"}"#).is_err());
    assert!(read(r#"{"success_rate": {"stdev": 1.0}}"#).is_err());
}

#[test]
fn hosts_come_and_go() {
    let mut rig = Rig::new(3, consecutive_only().max_ejection_percent(100));
    rig.calls(&[(0, 5), (0, 5)]);
    assert_eq!(rig.ejected(), [0, 1]);
    // The only host in rotation leaves: the one that was ejected first returns.
    rig.hosts.pop();
    assert_eq!(rig.ejected(), [1]);
    // A host that was added again has no history.
    drop(rig.hosts.pop());
    let again = rig.detector.add("h1");
    assert!(!again.is_ejected());
    assert_eq!(rig.detector.snapshot().len(), 2);
    drop((rig.hosts, again));
    assert!(rig.detector.snapshot().is_empty());
    assert!(rig.detector.sweep().is_empty());
}

#[test]
fn a_listener_hears_of_every_change_and_may_call_the_detector() {
    let rig = Rig::new(2, consecutive_only());
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    rig.detector.on_change({
        let (heard, detector) = (heard.clone(), rig.detector.clone());
        move |change| heard.lock().unwrap().push((change.clone(), detector.snapshot()[0].ejected))
    });
    rig.calls(&[(0, 5)]);
    rig.clock.advance(21 * SECOND);
    assert_eq!(rig.sweep(), ["+h0"]);
    let heard: Vec<_> =
        heard.lock().unwrap().iter().map(|(change, ejected)| (change.ejected, *ejected)).collect();
    assert_eq!(heard, [(Some(EjectionReason::ConsecutiveFailures), true), (None, false)]);
}

/// The listener holds the thread of the first change back until a second thread has made the next one.
#[test]
fn listeners_receive_the_changes_of_several_threads_in_their_order() {
    let rig = Rig::new(3, consecutive_only().max_ejection_percent(100));
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let (begun, has_begun) = std::sync::mpsc::channel();
    let (proceed, may_proceed) = std::sync::mpsc::channel();
    let may_proceed = std::sync::Mutex::new(may_proceed);
    rig.detector.on_change({
        let heard = heard.clone();
        move |change| {
            if *change.host == *"h0" {
                begun.send(()).unwrap();
                may_proceed.lock().unwrap().recv().unwrap();
            }
            heard.lock().unwrap().push(change.host.to_string());
        }
    });
    std::thread::scope(|threads| {
        threads.spawn(|| rig.calls(&[(0, 5)]));
        has_begun.recv().unwrap();
        rig.calls(&[(0, 0), (0, 5)]);
        proceed.send(()).unwrap();
    });
    assert_eq!(*heard.lock().unwrap(), ["h0", "h1"]);
}

#[test]
fn a_listener_that_panics_does_not_end_the_reports() {
    let rig = Rig::new(3, consecutive_only().max_ejection_percent(100));
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    rig.detector.on_change({
        let heard = heard.clone();
        move |change| {
            heard.lock().unwrap().push(change.host.to_string());
            assert_ne!(*change.host, *"h0");
        }
    });
    let panics = std::panic::AssertUnwindSafe(|| rig.calls(&[(0, 5)]));
    std::panic::catch_unwind(panics).unwrap_err();
    rig.calls(&[(0, 0), (0, 5)]);
    assert_eq!(*heard.lock().unwrap(), ["h0", "h1"]);
}

#[tokio::test(start_paused = true)]
async fn the_loop_sweeps_at_each_interval_and_ends_on_shutdown() {
    let detector = OutlierDetector::new("d", failure_percentage_only(), Clock::system()).unwrap();
    let hosts: Vec<_> = (0..5).map(|index| detector.add(&format!("h{index}"))).collect();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn({
        let detector = detector.clone();
        async move { detector.run(async move { drop(stopped.await) }).await }
    });
    (0..50).for_each(|_| hosts[0].record(false));
    tokio::time::sleep(Duration::from_millis(9_900)).await;
    assert!(!hosts[0].is_ejected());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(hosts[0].is_ejected());
    // Ejected at 10 s for 30 s: the sweep at 40 s comes at that time and not after it, that at 50 s ends the ejection.
    tokio::time::sleep(41 * SECOND).await;
    assert!(!hosts[0].is_ejected());
    stop.send(()).unwrap();
    running.await.unwrap();
}
