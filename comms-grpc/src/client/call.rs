//! One call: queues, connects and waits for the response headers, until the deadline.

use std::{sync::Arc, time::Duration};

use comms_core::{ErrorKind, clock::Clock};
use http::{Request, Response};
use tonic::{Code, Status, TimeoutExpired, body::Body, transport};
use tower::ServiceExt;
use tracing::Instrument;

use super::answer::{ReportAsError, failure};
use crate::{
    call_metrics::CallMetrics,
    deadline_body::DeadlineBody,
    evidence::{Evidence, error_chain, proves_not_executed},
    status_headers::truncate,
};

/// A call before it is sent, and the time until its deadline.
pub(super) struct Call {
    pub(super) transport: transport::Channel,
    pub(super) request: Request<Body>,
    pub(super) left: Duration,
    pub(super) clock: Clock,
    pub(super) peer: Arc<str>,
    pub(super) forwards_credentials: bool,
    pub(super) metrics: CallMetrics,
}

impl Call {
    pub(super) async fn run(self) -> Result<Response<Body>, Status> {
        let Self { transport, request, left, clock, peer, forwards_credentials, mut metrics } = self;
        let span = tracing::debug_span!("call", rpc.method = request.uri().path(), server.address = %peer);
        // This timer starts before the timer of the transport for `grpc-timeout`, whose status would be CANCELLED.
        let mut expiry = Box::pin(clock.sleep(left));
        let answer = tokio::select! {
            biased;
            answer = transport.oneshot(request).instrument(span) => answer.map_err(|e| status_of(e, &peer)),
            () = &mut expiry => Err(Status::deadline_exceeded(format!("{peer}: no response before the deadline"))),
        };
        let answer = answer.and_then(|mut response| match failure(&mut response, forwards_credentials) {
            Some(status) => Err(status),
            None => Ok(response),
        });
        match answer {
            Ok(response) => {
                metrics.set_code_from(response.headers());
                let report = ReportAsError { forwards_credentials };
                Ok(response.map(|body| Body::new(DeadlineBody::new(body, expiry, report, metrics))))
            }
            Err(status) => {
                metrics.set_code(status.code());
                Err(status)
            }
        }
    }
}

/// Returns the status of a call whose transport failed before the response. The code is UNAVAILABLE only for a call
/// that was provably not executed.
fn status_of(error: transport::Error, peer: &str) -> Status {
    let unexecuted = proves_not_executed(&error);
    let late = error_chain(&error).any(|error| error.is::<TimeoutExpired>());
    // The last source has the cause. The outer errors only report that the transport failed.
    let text = error_chain(&error).last().map(|cause| format!("{peer}: {cause}")).unwrap_or_default();
    let status = Status::from_error(Box::new(error));
    let code = match status.code() {
        _ if unexecuted => Code::Unavailable,
        _ if late => Code::DeadlineExceeded,
        Code::Unavailable => Code::Unknown,
        code => code,
    };
    let status = Status::new(code, truncate(&text));
    if unexecuted { Evidence::attach(status, ErrorKind::NotExecuted) } else { status }
}
