//! The delay as a percentile of recent first attempts.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_percentile_hedges_the_slowest_calls_only() {
    let hedge = hedge(HedgeConfig::default());
    let fast = Peer::new(&[(10, Ok(1))]);
    for _ in 0..99 {
        call(&hedge, &fast).await.0.unwrap();
    }
    let slow = Peer::new(&[(500, Ok(1)), (5, Ok(2))]);
    assert_eq!(call(&hedge, &slow).await, (Ok(1), 500), "99 samples are too few");
    assert_eq!(fast.begun(), 99);
    let delay = hedge.snapshot().delay_micros.unwrap();
    assert!((10_000..=11_250).contains(&delay), "{delay}");
    let (result, time) = call(&hedge, &Peer::new(&[(500, Ok(1)), (5, Ok(2))])).await;
    assert!(result == Ok(2) && (15..=18).contains(&time), "{time}");
    sleep(Duration::from_secs(31)).await;
    let snapshot = hedge.snapshot();
    assert_eq!((snapshot.delay_micros, snapshot.samples), (None, 0), "samples of the past are forgotten");
}

/// Each fifth call hangs. If the attempts that lost were no samples, the percentile would fall to the fast ones.
#[tokio::test(start_paused = true)]
async fn first_attempts_that_lost_or_were_dropped_late_are_samples() {
    let hedge = hedge(HedgeConfig::default().delay(HedgeDelay::Percentile(0.9)));
    let mixed: Vec<_> = (0..2_000).map(|index| (if index % 5 == 0 { 100 } else { 10 }, Ok(1))).collect();
    for script in mixed.chunks(1).take(150) {
        call(&hedge, &Peer::new(script)).await.0.unwrap();
    }
    let before = hedge.snapshot();
    assert!((100_000..112_500).contains(&before.delay_micros.unwrap()));
    for index in 0..200 {
        let first = if index % 5 == 0 { 10_000 } else { 10 };
        let limit = if index % 2 == 0 { millis(200) } else { millis(20_000) };
        drop(tokio::time::timeout(limit, call(&hedge, &Peer::new(&[(first, Ok(1)), (500, Ok(2))]))).await);
    }
    let after = hedge.snapshot();
    // A call that is dropped before the delay is no sample, and the delay rises with the losers.
    assert!(after.samples >= before.samples + 180, "{before:?} {after:?}");
    assert!(after.delay_micros >= before.delay_micros, "{before:?} {after:?}");
}

#[tokio::test(start_paused = true)]
async fn failures_and_early_cancellations_are_no_samples() {
    let hedge = hedge(HedgeConfig::default().min_samples(1));
    assert_eq!(call(&hedge, &Peer::new(&[(5, Err(Invalid))])).await.0, Err(Invalid));
    assert_eq!(hedge.snapshot().samples, 0);
    call(&hedge, &Peer::new(&[(100, Ok(1))])).await.0.unwrap();
    assert!(tokio::time::timeout(millis(10), call(&hedge, &Peer::new(&[(100, Ok(1))]))).await.is_err());
    assert_eq!(hedge.snapshot().samples, 1);
}

#[tokio::test(start_paused = true)]
async fn a_first_attempt_that_timed_out_is_a_sample() {
    let hedge = hedge(HedgeConfig::default().min_samples(1));
    call(&hedge, &Peer::new(&[(10, Ok(1))])).await.0.unwrap();
    for (time, samples) in [(5, 1), (500, 2)] {
        let lost = (time, Err(Indeterminate));
        assert_eq!(
            call(&hedge, &Peer::new(&[lost, (1_000, Err(Indeterminate))])).await.0,
            Err(Indeterminate)
        );
        assert_eq!(hedge.snapshot().samples, samples, "{time} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn new_settings_apply_to_the_next_call_and_keep_the_samples() {
    let hedge = hedge(HedgeConfig::default().min_samples(1));
    call(&hedge, &Peer::new(&[(10, Ok(1))])).await.0.unwrap();
    call(&hedge, &Peer::new(&[(100, Ok(1)), (500, Ok(1))])).await.0.unwrap();
    let share = |share| HedgeConfig::default().min_samples(1).delay(HedgeDelay::Percentile(share));
    hedge.configure(share(0.5)).unwrap();
    assert!(hedge.snapshot().delay_micros.unwrap() < 12_000);
    hedge.configure(share(0.6)).unwrap();
    assert!(hedge.snapshot().delay_micros.unwrap() >= 100_000);
    hedge.configure(share(0.6).window(Duration::from_secs(5))).unwrap();
    assert_eq!(hedge.snapshot().samples, 0);
    assert!(hedge.configure(share(1.0)).is_err());
}
