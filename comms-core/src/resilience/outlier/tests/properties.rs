use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Calls(usize, u32, u32),
    Add,
    Remove(usize),
    Sweep(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..20, 0u32..150, 0u32..150).prop_map(|(host, ok, failed)| Step::Calls(host, ok, failed)),
        1 => Just(Step::Add),
        1 => (0usize..20).prop_map(Step::Remove),
        3 => (0u64..100).prop_map(Step::Sweep),
    ]
}

proptest! {
    #[test]
    fn a_host_stays_in_rotation_and_ejections_have_a_bound(
        hosts in 1usize..15, percent in 0u32..=100, seed: u64, steps in prop::collection::vec(step(), 0..120)
    ) {
        let clock = Clock::seeded(Duration::ZERO, seed);
        let config = OutlierConfig::default()
            .max_ejection_percent(percent)
            .success_rate(SuccessRateConfig::default().stdev_factor(0.5).enforcement_percentage(70))
            .consecutive_failures(30);
        let detector = OutlierDetector::new("d", config.clone(), clock.clone()).unwrap();
        let mut handles: Vec<_> = (0..hosts).map(|_| detector.add("h")).collect();
        for step in steps {
            let before = handles.iter().filter(|host| host.is_ejected()).count();
            let mut removed = false;
            match step {
                Step::Calls(host, ok, failed) => {
                    if let Some(host) = handles.get(host) {
                        (0..ok).for_each(|_| host.record(true));
                        (0..failed).for_each(|_| host.record(false));
                    }
                }
                Step::Add => handles.push(detector.add("h")),
                Step::Remove(host) if host < handles.len() => {
                    removed = true;
                    handles.remove(host);
                }
                Step::Remove(_) => {}
                Step::Sweep(seconds) => {
                    clock.advance(Duration::from_secs(seconds));
                    drop(detector.sweep());
                }
            }
            let ejected = handles.iter().filter(|host| host.is_ejected()).count();
            prop_assert!(handles.is_empty() || ejected < handles.len(), "a host stays in rotation");
            // A smaller set may have more ejected hosts than its share, but not more than before.
            let bound = config.max_ejected(handles.len());
            prop_assert!(ejected <= bound.max(before), "{ejected} of {}, removed: {removed}", handles.len());
            let shown: Vec<_> = detector.snapshot().iter().map(|host| host.ejected).collect();
            prop_assert_eq!(shown, handles.iter().map(OutlierHost::is_ejected).collect::<Vec<_>>());
        }
        clock.advance(Duration::from_secs(301));
        drop(detector.sweep());
        clock.advance(Duration::from_secs(301));
        drop(detector.sweep());
        prop_assert!(handles.iter().all(|host| !host.is_ejected()), "every ejection ends");
    }

    #[test]
    fn hosts_with_the_same_rate_are_no_outliers(hosts in 5usize..40, ok in 0u32..500, failed in 0u32..500) {
        let rig = Rig::new(hosts, success_rate_only().max_ejection_percent(100));
        rig.calls(&vec![(ok, failed); hosts]);
        prop_assert!(rig.sweep().is_empty());
    }
}
