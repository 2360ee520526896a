//! One call on its way: through the queue, the connect and the wait for headers, within the deadline.

use std::{error::Error as StdError, iter, sync::Arc, time::Duration};

use http::{Request, Response};
use tonic::{Code, ConnectError, Status, TimeoutExpired, body::Body, transport};
use tower::ServiceExt;
use tracing::Instrument;

use crate::{
    body::{DeadlineBody, Tell},
    measure::Measure,
};

/// A call that is going to be made, and what remains for it.
pub(super) struct Call {
    pub(super) transport: transport::Channel,
    pub(super) request: Request<Body>,
    pub(super) left: Duration,
    pub(super) peer: Arc<str>,
    pub(super) measure: Measure,
}

impl Call {
    pub(super) async fn run(self) -> Result<Response<Body>, Status> {
        let Self { transport, request, left, peer, mut measure } = self;
        let span = tracing::debug_span!("call", rpc.method = request.uri().path(), server.address = %peer);
        // Made before the transport makes a timer of `grpc-timeout`: that one would answer CANCELLED.
        let mut expiry = Box::pin(tokio::time::sleep(left));
        let answer = tokio::select! {
            biased;
            answer = transport.oneshot(request).instrument(span) => answer.map_err(|e| status_of(e, &peer)),
            () = &mut expiry => Err(Status::deadline_exceeded(format!("{peer}: no answer before the deadline"))),
        };
        match answer {
            Ok(response) => {
                measure.ended_by(response.headers());
                Ok(response.map(|body| Body::new(DeadlineBody::new(body, expiry, Tell::Error, measure))))
            }
            Err(status) => {
                measure.ended(status.code());
                Err(status)
            }
        }
    }
}

/// What a failure of the transport tells the caller. UNAVAILABLE promises that nothing happened, so it is
/// kept for a connection that could not be made.
fn status_of(error: transport::Error, peer: &str) -> Status {
    let (unsent, late) = (caused_by::<ConnectError>(&error), caused_by::<TimeoutExpired>(&error));
    let status = Status::from_error(Box::new(error));
    let code = match status.code() {
        _ if late => Code::DeadlineExceeded,
        Code::Unavailable if !unsent => Code::Unknown,
        code => code,
    };
    Status::new(code, format!("{peer}: {}", status.message()))
}

fn caused_by<E: StdError + 'static>(error: &(dyn StdError + 'static)) -> bool {
    iter::successors(Some(error), |&e| e.source()).any(|e| e.is::<E>())
}
