use std::time::Duration;

use super::*;

#[test]
fn the_worst_part_decides_and_degraded_stays_in_rotation() {
    let health = Health::new();
    assert!(health.is_ready(), "nothing to wait for");
    let (relay, breaker) = (health.component("relay"), health.component("breaker"));
    assert_eq!(health.readiness().reason("relay"), Some("starting"));
    relay.ready();
    breaker.degraded("payment: open");
    assert!(health.is_ready());
    assert_eq!(health.readiness().status, Status::Degraded);
    relay.unready("database away");
    assert!(!health.is_ready());
    assert_eq!(health.readiness().status, Status::Unready);
    health.remove("relay");
    assert!(health.is_ready());
}

#[test]
fn a_degraded_part_makes_a_strict_health_unready() {
    let health = Health::strict(Clock::system());
    let breaker = health.component("breaker");
    breaker.ready();
    assert!(health.is_ready());
    breaker.degraded("open");
    assert!(!health.is_ready());
}

#[test]
fn a_gauge_is_read_at_each_probe_and_ready_at_its_limit() {
    let health = Health::new();
    let lag = Arc::new(Mutex::new(60.0));
    let read = lag.clone();
    health.gauge("lag", 60.0, move || *read.lock().unwrap());
    assert!(health.is_ready());
    for (value, reason) in [(60.5, "60.5 is over the limit of 60"), (f64::NAN, "NaN is over the limit of 60")]
    {
        *lag.lock().unwrap() = value;
        assert!(!health.is_ready(), "{value}");
        assert_eq!(health.readiness().reason("lag"), Some(reason));
    }
    health.check("lag", || State::over(Status::Degraded, 61.0, 60.0));
    assert!(health.is_ready(), "the same limit, degrading");
}

#[test]
fn a_check_may_look_at_its_health_and_may_panic() {
    let health = Health::new();
    let inner = health.clone();
    health.check("beats", move || match inner.is_live() {
        true => State::ready(),
        false => State::unready("a loop hangs"),
    });
    assert!(health.is_ready());
    health.check("bad", || panic!("division by zero"));
    let report = health.readiness();
    assert_eq!(report.reason("bad"), Some("the check panicked: division by zero"));
    assert_eq!(report.reason("beats"), None);
}

#[test]
fn the_report_is_json_in_the_order_of_the_names() {
    let health = Health::new();
    for name in ["b", "c", "a"] {
        health.component(name).ready();
    }
    health.component("b").degraded("slow");
    let json = serde_json::to_string(&health.readiness()).unwrap();
    let expected = r#"{"status":"degraded","parts":{"a":{"status":"ready"},"b":{"status":"degraded","reason":"slow"},"c":{"status":"ready"}}}"#;
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), health.readiness());
}

#[test]
fn a_loop_that_falls_silent_is_not_live_until_it_beats_again() {
    let clock = Clock::manual(Duration::ZERO);
    let health = Health::with_clock(clock.clone());
    assert!(health.is_live());
    let (slow, fast) =
        (health.heartbeat("slow", Duration::from_secs(60)), health.heartbeat("fast", Duration::from_secs(5)));
    clock.advance(Duration::from_secs(5));
    assert!(health.is_live(), "at its limit");
    clock.advance(Duration::from_secs(1));
    assert!(!health.is_live());
    assert!(health.is_ready(), "another question");
    let report = health.liveness();
    assert_eq!(report.reason("fast"), Some("no sign of life for 6 s, the limit is 5 s"));
    assert_eq!(report.reason("slow"), None);
    fast.beat();
    assert!(health.is_live());
    clock.advance(Duration::from_secs(50));
    drop(fast);
    assert!(health.is_live(), "it ended in order");
    drop(slow);
    assert!(health.liveness().parts.is_empty());
}

#[test]
fn a_loop_that_panicked_is_noticed() {
    let clock = Clock::manual(Duration::ZERO);
    let health = Health::with_clock(clock.clone());
    let poll = health.heartbeat("poll", Duration::from_secs(5));
    let died = std::thread::spawn(move || {
        poll.beat();
        panic!("died");
    });
    assert!(died.join().is_err());
    clock.advance(Duration::from_secs(6));
    assert!(!health.is_live());
}

#[test]
fn a_component_that_was_removed_or_replaced_says_nothing_any_more() {
    let health = Health::new();
    let relay = health.component("relay");
    health.remove("relay");
    relay.unready("database away");
    assert!(health.is_ready() && health.readiness().parts.is_empty());
    health.check("relay", || State::unready("asked"));
    relay.ready();
    assert_eq!(health.readiness().reason("relay"), Some("asked"));
}

#[test]
fn of_two_loops_of_one_name_the_earlier_leaves_the_later_alone() {
    let clock = Clock::manual(Duration::ZERO);
    let health = Health::with_clock(clock.clone());
    let earlier = health.heartbeat("poll", Duration::from_secs(60));
    let later = health.heartbeat("poll", Duration::from_secs(5));
    clock.advance(Duration::from_secs(6));
    earlier.beat();
    assert!(!health.is_live(), "the later one is silent");
    drop(earlier);
    assert!(!health.is_live(), "and still on the list");
    later.beat();
    assert!(health.is_live());
    drop(later);
    assert!(health.liveness().parts.is_empty());
}

#[test]
fn a_loop_that_has_not_begun_is_live_until_its_first_beat() {
    let clock = Clock::manual(Duration::ZERO);
    let health = Health::with_clock(clock.clone());
    let relay = health.heartbeat("relay", Duration::from_secs(5));
    relay.pause();
    clock.advance(Duration::from_secs(3_600));
    assert!(health.is_live());
    relay.beat();
    clock.advance(Duration::from_secs(6));
    assert!(!health.is_live());
}
