//! The loop of a resumed stream: opens the call, reads it, and waits after a break.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use comms_core::{Error, ErrorKind, clock::Clock, context::Context, telemetry};
use tonic::{Response, Status, Streaming};

use super::{Resume, ResumeConfig};
use crate::from_status;

/// The longest wait of the server (pushback) after which the stream is opened again, as in the policies of comms-core.
const MAX_PUSHBACK: Duration = Duration::from_secs(300);

/// A call that was open for this time shows that the server works: the failures before it do not count any more.
const STABLE: Duration = Duration::from_secs(30);

/// The state of a stream between two items.
pub(super) struct Run<P, T, F, Open> {
    name: String,
    config: ResumeConfig,
    clock: Clock,
    context: Context,
    last_position: Option<P>,
    /// The position after which the call was opened.
    opened_after: Option<P>,
    is_duplicate: Option<fn(&P, &P) -> bool>,
    position_of: F,
    open: Open,
    /// The call in progress, and when its response headers arrived.
    call: Option<(Streaming<T>, Instant)>,
    /// Failures in a row.
    failures: u32,
    /// Ends without an error in a row.
    ends: u32,
    ended: bool,
}

/// Why a call is over.
enum Break {
    /// The server ended the stream without an error.
    End,
    /// No response headers came in time.
    Silence(Duration),
    /// The call was open, and no item came in time.
    Quiet(Duration),
    Failure(Error),
}

impl Break {
    /// The label `reason` of the metric.
    const fn reason(&self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Silence(_) | Self::Quiet(_) => "silence",
            Self::Failure(error) => error.kind.as_str(),
        }
    }
}

impl<P, T, F, Open, Call> Run<P, T, F, Open>
where
    P: Clone + PartialEq,
    F: Fn(&T) -> Option<P>,
    Open: FnMut(Option<P>) -> Call,
    Call: Future<Output = Result<Response<Streaming<T>>, Status>>,
{
    pub(super) fn new(resume: Resume<P>, context: Context, position_of: F, open: Open) -> Self {
        let Resume { name, config, clock, position: last_position, is_duplicate } = resume;
        let (call, failures, ends, ended) = (None, 0, 0, false);
        Self {
            name,
            config,
            clock,
            context,
            opened_after: last_position.clone(),
            last_position,
            is_duplicate,
            position_of,
            open,
            call,
            failures,
            ends,
            ended,
        }
    }

    /// Returns the next item, the error with which the stream ends, or `None` after the end.
    pub(super) async fn next(&mut self) -> Option<Result<T, Error>> {
        while !self.ended {
            let broken = match self.read().await {
                Ok(item) if self.accept(&item) => return Some(Ok(item)),
                Ok(_duplicate) => continue,
                Err(broken) => broken,
            };
            self.close();
            let reason = broken.reason();
            match self.wait_after(broken) {
                Ok(Some(wait)) => {
                    tracing::debug!(
                        name = self.name,
                        reason,
                        ?wait,
                        failures = self.failures,
                        "stream resumes"
                    );
                    let name = self.name.clone();
                    metrics::counter!(telemetry::STREAM_RESUMES, "name" => name, "reason" => reason)
                        .increment(1);
                    self.clock.sleep(wait).await;
                }
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// Reads an item, and opens the stream first if it is not open.
    async fn read(&mut self) -> Result<T, Break> {
        if self.call.is_none() {
            let (open, position) = (&mut self.open, self.last_position.clone());
            let opened = self.context.clone().scope(async { open(position).await });
            let response = within(&self.clock, self.config.silence, opened, Break::Silence).await?;
            self.call = Some((response.into_inner(), self.clock.now()));
        }
        // Always present: it was opened.
        let Some((call, _)) = &mut self.call else { return Err(Break::End) };
        within(&self.clock, self.config.silence, call.message(), Break::Quiet).await?.ok_or(Break::End)
    }

    /// Returns whether an item is passed on.
    fn accept(&mut self, item: &T) -> bool {
        let Some(position) = (self.position_of)(item) else { return true };
        if let (Some(is_duplicate), Some(last)) = (self.is_duplicate, &self.last_position)
            && is_duplicate(&position, last)
        {
            return false;
        }
        self.last_position = Some(position);
        true
    }

    /// Cancels the call if it is still open. A call that has brought the stream to another position, or that was open for
    /// long, ends a row of failures. A server that sends the same item in each call makes no progress.
    fn close(&mut self) {
        let now = self.clock.now();
        let lasted =
            self.call.take().is_some_and(|(_, since)| now.saturating_duration_since(since) >= STABLE);
        if lasted || self.last_position != self.opened_after {
            (self.failures, self.ends) = (0, 0);
        }
        self.opened_after.clone_from(&self.last_position);
    }

    /// Returns the wait before the stream is opened again, or `None` if it ends.
    fn wait_after(&mut self, broken: Break) -> Result<Option<Duration>, Error> {
        let error = match broken {
            Break::End if !self.config.follow => return Ok(None),
            Break::End => {
                self.ends = self.ends.saturating_add(1);
                let wait = self.config.backoff.delay(self.ends, &self.clock);
                let late = Error::indeterminate("the deadline comes before the next call");
                return self.in_time(wait, late).map(Some);
            }
            Break::Quiet(limit) => {
                // The server has opened the call, so it works. A stream without news is no failure.
                (self.failures, self.ends) = (0, 0);
                let wait = self.config.backoff.delay(1, &self.clock);
                return self.in_time(wait, silent(limit)).map(Some);
            }
            Break::Silence(limit) => silent(limit),
            Break::Failure(error) => error,
        };
        self.failures = self.failures.saturating_add(1);
        if !may_resume(&error) {
            return Err(error.context(format_args!("stream {}", self.name)));
        }
        if self.failures >= self.config.max_failures {
            let failures = self.failures;
            return Err(error.context(format_args!(
                "stream {}: {failures} failures in a row without progress",
                self.name
            )));
        }
        let backoff = self.config.backoff.delay(self.failures, &self.clock);
        let wait = error.retry_after.unwrap_or(backoff);
        self.in_time(wait, error).map(Some)
    }

    /// Returns `wait`, or `error` if the wait would reach the deadline.
    fn in_time(&self, wait: Duration, error: Error) -> Result<Duration, Error> {
        let Some(deadline) = self.context.deadline else { return Ok(wait) };
        match deadline.remaining(&self.clock) {
            Some(left) if wait < left => Ok(wait),
            _ => Err(error.context(format_args!("stream {}", self.name))),
        }
    }
}

/// Returns whether the stream may be opened again after this failure. Opening it twice has no effect on the server, so
/// a call that may have been executed is repeated as well.
fn may_resume(error: &Error) -> bool {
    match error.kind {
        _ if error.retry_after.is_some_and(|wait| wait > MAX_PUSHBACK) => false,
        ErrorKind::NotExecuted | ErrorKind::Indeterminate => true,
        ErrorKind::Rejected => error.retry_after.is_some(),
        _ => false,
    }
}

fn silent(limit: Duration) -> Error {
    let limit = comms_core::clock::rounded(limit);
    Error::indeterminate(format!("the server sent nothing for {limit}"))
}

/// Awaits `call` for at most `silence`, after which `late` is the reason of the break.
async fn within<T>(
    clock: &Clock,
    silence: Option<Duration>,
    call: impl Future<Output = Result<T, Status>>,
    late: fn(Duration) -> Break,
) -> Result<T, Break> {
    let result = match silence {
        Some(limit) => clock.timeout(limit, call).await.map_err(|_| late(limit))?,
        None => call.await,
    };
    result.map_err(|status| Break::Failure(from_status(&status)))
}
