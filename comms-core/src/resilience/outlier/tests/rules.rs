//! The rules of gRFC A50, one table each.

use super::*;

/// The name, the calls of each host, and the ejected hosts.
type Case = (&'static str, &'static [(u32, u32)], &'static [usize]);

const GOOD: (u32, u32) = (99, 1);
const BAD: (u32, u32) = (50, 50);
const DOWN: (u32, u32) = (0, 100);

#[test]
fn success_rate_ejects_hosts_far_below_the_mean() {
    let table: &[Case] = &[
        ("one outlier of five", &[GOOD, GOOD, GOOD, GOOD, BAD], &[4]),
        ("equal hosts", &[GOOD; 5], &[]),
        ("equally bad hosts", &[BAD; 5], &[]),
        ("four hosts are too few", &[GOOD, GOOD, GOOD, BAD], &[]),
        ("four of five hosts with traffic are too few", &[GOOD, GOOD, GOOD, BAD, (50, 49)], &[]),
        ("a host with little traffic is not considered", &[GOOD, GOOD, GOOD, GOOD, GOOD, (0, 99)], &[]),
        ("no traffic", &[(0, 0); 5], &[]),
        // Mean 0.8, deviation 0.245: the bound is 0.334.
        ("two bad hosts raise the deviation", &[(100, 0), (100, 0), (100, 0), BAD, BAD], &[]),
        ("a total failure of one of six", &[GOOD, DOWN, GOOD, GOOD, GOOD, GOOD], &[1]),
    ];
    for (name, calls, ejected) in table {
        let rig = Rig::new(calls.len(), success_rate_only());
        rig.calls(calls);
        rig.sweep();
        assert_eq!(rig.ejected(), *ejected, "{name}");
    }
}

#[test]
fn the_standard_deviation_factor_moves_the_bound() {
    // Mean 0.892, deviation 0.196: 1 deviation is 0.696, 2 deviations are 0.5.
    let calls = [GOOD, GOOD, GOOD, GOOD, BAD];
    for (factor, ejected) in [(0.0, true), (1.0, true), (1.9, true), (2.1, false)] {
        let rule = SuccessRateConfig::default().stdev_factor(factor);
        let rig = Rig::new(5, success_rate_only().success_rate(rule));
        rig.calls(&calls);
        rig.sweep();
        assert_eq!(rig.ejected() == [4], ejected, "{factor}");
    }
}

#[test]
fn failure_percentage_ejects_hosts_above_the_threshold() {
    let table: &[Case] = &[
        ("one of five", &[GOOD, GOOD, DOWN, GOOD, GOOD], &[2]),
        ("exactly 85 % may fail", &[GOOD, GOOD, (15, 85), GOOD, GOOD], &[]),
        ("86 % may not", &[GOOD, GOOD, (14, 86), GOOD, GOOD], &[2]),
        ("49 calls are too few", &[GOOD, GOOD, (0, 49), GOOD, GOOD], &[]),
        ("four hosts are too few", &[GOOD, GOOD, DOWN, GOOD], &[]),
        ("hosts without traffic count as hosts", &[(0, 0), (0, 0), DOWN, (0, 0), (0, 0)], &[2]),
        ("all fail: one is ejected at 10 %", &[DOWN; 5], &[0]),
    ];
    for (name, calls, ejected) in table {
        let rig = Rig::new(calls.len(), failure_percentage_only());
        rig.calls(calls);
        rig.sweep();
        assert_eq!(rig.ejected(), *ejected, "{name}");
    }
}

#[test]
fn max_ejection_percent_limits_the_ejected_hosts() {
    for (hosts, percent, ejected) in
        [(5, 0, 1), (5, 10, 1), (5, 20, 1), (5, 40, 2), (10, 10, 1), (20, 10, 2), (20, 19, 3), (5, 100, 4)]
    {
        let rig = Rig::new(hosts, failure_percentage_only().max_ejection_percent(percent));
        rig.calls(&vec![DOWN; hosts]);
        rig.sweep();
        assert_eq!(rig.ejected().len(), ejected, "{percent} % of {hosts}");
    }
}

#[test]
fn the_last_host_is_never_ejected() {
    let rule = FailurePercentageConfig::default().minimum_hosts(0);
    for hosts in [0, 1] {
        let rig = Rig::new(hosts, failure_percentage_only().failure_percentage(rule.clone()));
        rig.calls(&[DOWN]);
        assert!(rig.sweep().is_empty());
    }
}

#[test]
fn an_ejection_lasts_base_times_multiplier_and_the_multiplier_decays() {
    let rig = Rig::new(5, failure_percentage_only());
    let fail = || rig.calls(&[DOWN]);
    let sweeps_until_return = || (1..).find(|_| rig.sweep() == ["+h0"]).unwrap();
    fail();
    assert_eq!(rig.sweep(), ["-h0"]);
    // Returned at the first sweep *after* the ejection time: 30 s end at the fourth sweep.
    assert_eq!(sweeps_until_return(), 4);
    fail();
    assert_eq!(rig.sweep(), ["-h0"]);
    assert_eq!(sweeps_until_return(), 7, "60 s");
    // A sweep in rotation without an ejection: the multiplier is 1 again, and 2 with the next ejection.
    assert!(rig.sweep().is_empty());
    fail();
    assert_eq!(rig.sweep(), ["-h0"]);
    assert_eq!(sweeps_until_return(), 7, "60 s");
    (0..2).for_each(|_| assert!(rig.sweep().is_empty()));
    fail();
    assert_eq!(rig.sweep(), ["-h0"]);
    assert_eq!(sweeps_until_return(), 4, "30 s");
}

#[test]
fn max_ejection_time_ends_the_growth_and_is_at_least_the_base() {
    for (base, longest, multiplier, expected) in [
        (30, 300, 1, 30),
        (30, 300, 9, 270),
        (30, 300, 11, 300),
        (30, 300, u32::MAX, 300),
        (600, 300, 3, 600),
    ] {
        let config = OutlierConfig::default().base_ejection_time(base * SECOND);
        let config = config.max_ejection_time(longest * SECOND);
        assert_eq!(config.ejection_time(multiplier), expected * SECOND, "{base} {longest} {multiplier}");
    }
}

#[test]
fn an_ejected_host_is_not_ejected_again_by_calls_that_end_late() {
    let rig = Rig::new(5, failure_percentage_only());
    rig.calls(&[DOWN]);
    assert_eq!(rig.sweep(), ["-h0"]);
    rig.calls(&[DOWN]);
    assert!(rig.sweep().is_empty());
    assert_eq!(rig.detector.snapshot()[0].ejections, 1);
    assert_eq!(rig.detector.snapshot()[0].remaining_ejection_ms, Some(20_000));
}

#[test]
fn enforcement_percentage_is_the_chance_of_an_ejection() {
    for (percentage, least, most) in [(0, 0, 0), (30, 200, 400), (100, 1_000, 1_000)] {
        let rule = FailurePercentageConfig::default().enforcement_percentage(percentage);
        let rig = Rig::new(5, failure_percentage_only().failure_percentage(rule));
        let mut ejections = 0;
        for _ in 0..1_000 {
            rig.calls(&[DOWN]);
            ejections += rig.sweep().len();
            while !rig.ejected().is_empty() {
                rig.sweep();
            }
        }
        assert!((least..=most).contains(&ejections), "{percentage} %: {ejections}");
    }
}

#[test]
fn consecutive_failures_eject_at_once_and_a_success_starts_anew() {
    let rig = Rig::new(2, consecutive_only());
    rig.calls(&[(0, 4)]);
    rig.calls(&[(1, 4)]);
    assert!(rig.ejected().is_empty());
    rig.calls(&[(0, 1)]);
    assert_eq!(rig.ejected(), [0]);
    // The other host may not be ejected, now and after the first one has returned: its count started anew.
    rig.calls(&[(0, 0), (0, 9)]);
    assert_eq!(rig.ejected(), [0]);
    rig.clock.advance(31 * SECOND);
    assert_eq!(rig.sweep(), ["+h0"]);
    rig.calls(&[(0, 0), (0, 1)]);
    assert_eq!(rig.ejected(), [1], "five failures since the count started anew");
}

#[test]
fn a_host_that_returns_is_on_trial_until_a_call_succeeds() {
    let rig = Rig::new(2, consecutive_only());
    let state = || (rig.hosts[0].is_ejected(), rig.hosts[0].is_on_trial(), rig.hosts[0].generation());
    assert_eq!(state(), (false, false, 0));
    rig.calls(&[(0, 5)]);
    assert_eq!(state(), (true, false, 1));
    rig.clock.advance(31 * SECOND);
    rig.sweep();
    assert_eq!(state(), (false, true, 2));
    rig.calls(&[(0, 1)]);
    assert_eq!(state(), (true, false, 3), "the first failure ejects again");
    assert_eq!(rig.hosts[0].snapshot().ejections, 2);
    rig.clock.advance(61 * SECOND);
    rig.sweep();
    rig.calls(&[(1, 4)]);
    assert_eq!(state(), (false, false, 4));
    assert_eq!(rig.hosts[0].snapshot(), rig.detector.snapshot()[0]);
}

#[test]
fn a_failure_on_trial_does_not_eject_if_consecutive_failures_are_not_counted() {
    let rig = Rig::new(5, failure_percentage_only());
    rig.calls(&[DOWN]);
    (0..5).for_each(|_| drop(rig.sweep()));
    rig.calls(&[(0, 1)]);
    assert!(rig.hosts[0].is_on_trial() && !rig.hosts[0].is_ejected());
}

#[test]
fn a_rule_that_is_turned_off_ejects_no_more_and_ejected_hosts_stay() {
    let rig = Rig::new(3, consecutive_only().max_ejection_percent(100));
    rig.calls(&[(0, 5)]);
    rig.detector.configure(failure_percentage_only().max_ejection_percent(100)).unwrap();
    rig.calls(&[(0, 0), (0, 50)]);
    assert_eq!(rig.ejected(), [0]);
    assert!(rig.detector.configure(OutlierConfig::default().interval(Duration::ZERO)).is_err());
}
