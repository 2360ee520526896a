//! The loop that reads the sources again.

use std::{sync::Weak, time::Duration};

use comms_core::clock::Clock;
use tokio::task::JoinHandle;

use super::{
    Material, Reloader, Source,
    source::{Secret, read_all},
};

type Reading = JoinHandle<Result<Vec<Secret>, String>>;

/// Reads the sources of `reloader` at each interval, until the last user drops it.
///
/// At most one reading runs: one that does not end, of a file system that does not answer, is reported and is not
/// repeated.
pub(super) async fn run<T: Material>(reloader: Weak<Reloader<T>>, clock: Clock, interval: Duration) {
    let mut pending: Option<Reading> = None;
    loop {
        clock.sleep(interval).await;
        let Some(reloader) = reloader.upgrade() else { return };
        if reloader.sources.iter().all(Source::is_constant) {
            reloader.observe(&clock);
            continue;
        }
        let mut reading = pending.take().unwrap_or_else(|| {
            let sources = reloader.sources.clone();
            tokio::task::spawn_blocking(move || read_all(&sources))
        });
        match clock.timeout(interval, &mut reading).await {
            Ok(Ok(files)) => reloader.apply(files, &clock),
            Ok(Err(error)) => reloader.report_failure(&format!("the reading failed: {error}"), &clock),
            Err(_) => {
                reloader.report_failure("the file system does not answer within the interval", &clock);
                pending = Some(reading);
            }
        }
    }
}
