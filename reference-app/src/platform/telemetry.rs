//! Logs and metrics of the process.

use std::{
    io::IsTerminal,
    sync::{Mutex, PoisonError},
};

use comms_core::{Error, telemetry};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use super::config::{Log, LogFormat};

/// The bounds of histogram buckets, in seconds. Unlike summaries, histograms of several instances can be added.
const BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Starts logging with the settings in `log`.
///
/// # Errors
/// Returns `Invalid` if the filter cannot be parsed.
pub fn init_logs(log: &Log) -> Result<(), Error> {
    let filter = EnvFilter::try_new(&log.filter)
        .map_err(|e| Error::invalid(e).context("configuration: log.filter (COMMS_LOG__FILTER)"))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A standard error that is closed or full must not end the process.
    let lines = lines.with_ansi(std::io::stderr().is_terminal()).log_internal_errors(false);
    let started = match log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    // A test may have set a subscriber. That subscriber stays.
    if let Err(error) = started {
        tracing::debug!(%error, "a log subscriber is already set");
    }
    Ok(())
}

/// Installs the metrics recorder and describes every metric. Returns the handle that renders the metrics. A process
/// has one recorder: a later call returns the same handle.
///
/// # Errors
/// Returns `Fatal` if another part of the process has installed a recorder.
pub fn init_metrics() -> Result<PrometheusHandle, Error> {
    static INSTALLED: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = installed.as_ref() {
        return Ok(handle.clone());
    }
    let handle = builder()?.install_recorder().map_err(Error::fatal)?;
    telemetry::describe();
    Ok(installed.insert(handle).clone())
}

fn builder() -> Result<PrometheusBuilder, Error> {
    let durations = Matcher::Suffix("_duration_seconds".to_owned());
    PrometheusBuilder::new().set_buckets_for_metric(durations, &BUCKETS).map_err(Error::fatal)
}

#[cfg(test)]
mod tests {
    use telemetry::{METRICS, MetricKind};

    use super::*;

    /// Covers metrics that the journeys do not record. `promtool check metrics` reads the output of this test.
    #[test]
    fn every_metric_is_rendered_with_its_description_and_type() {
        let recorder = builder().unwrap().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            telemetry::describe();
            for metric in METRICS {
                match metric.kind {
                    MetricKind::Counter => metrics::counter!(metric.name).increment(1),
                    MetricKind::Gauge => metrics::gauge!(metric.name).set(1.0),
                    MetricKind::Histogram => metrics::histogram!(metric.name).record(0.2),
                }
            }
        });
        let text = recorder.handle().render();
        println!("{text}");
        for metric in METRICS {
            let (name, kind) = (metric.name, format!("{:?}", metric.kind).to_lowercase());
            assert!(text.contains(&format!("# HELP {name} {}\n", metric.description)), "{name}");
            assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name}");
        }
    }
}
