//! One call: runs its attempts under the policy, and bounds its response body by the deadline.

mod request_limit;
mod response;

use std::{future::poll_fn, sync::Arc, task::Poll, time::Instant};

use comms_core::{
    clock::Clock,
    context::{Context, Deadline},
};
use http::{Request, Response, request::Parts};
use tonic::{Status, body::Body};
use tower_service::Service;
use tracing::{Instrument, Span};

use self::{request_limit::RequestLimit, response::ResponseBody};
use super::{
    answer::HeadStatus,
    methods::{CallMeter, CallSettings, Method},
    prepare::Prepared,
    request::{CallRequest, Head, RequestBody},
};
use crate::deadline_timer::DeadlineTimer;

/// A call before it is sent.
pub(super) struct Call {
    pub(super) method: Arc<Method>,
    pub(super) request: Request<Body>,
    pub(super) prepared: Prepared,
    pub(super) replay_limit: usize,
    pub(super) settings: CallSettings,
    pub(super) forwards_credentials: bool,
    pub(super) clock: Clock,
    pub(super) meter: CallMeter,
    pub(super) span: Span,
}

impl Call {
    pub(super) async fn run(self) -> Result<Response<Body>, Status> {
        let Self {
            method,
            request,
            prepared,
            replay_limit,
            settings,
            forwards_credentials,
            clock,
            mut meter,
            span,
        } = self;
        let Prepared { deadline, caller, scope } = prepared;
        let attempts = async move {
            let (request, limit) = RequestLimit::apply(request, settings.max_request);
            let mut request = read(request, replay_limit, deadline, caller, settings)
                .await
                .map_err(|status| limit.unsent(status))?;
            let result = match &method.hedge {
                Some(hedge) if request.hedge(scope) => {
                    let context = Context::default().with_deadline(Deadline::at(deadline));
                    context.scope(Box::pin(hedge.clone().call(request))).await
                }
                _ => {
                    let attempts = method.service.clone().call(request);
                    attempts.await
                }
            };
            result.map_err(|failure| limit.explain(failure.into_status()))
        };
        let attempts = attempts.instrument(span);
        let answer = match scope {
            // The policy takes the deadline from the context.
            Some(scope) => Context::default().with_deadline(scope).scope(attempts).await,
            None => attempts.await,
        };
        match answer {
            Ok(response) => {
                meter.set_code_from(response.headers());
                let (mut parts, (body, running)) = response.into_parts();
                let head = parts.extensions.remove::<HeadStatus>();
                let timer = DeadlineTimer::new(deadline, clock);
                let body = ResponseBody::new(body, running, head, timer, meter, forwards_credentials)
                    .with_limit(settings.max_response);
                Ok(Response::from_parts(parts, Body::new(body)))
            }
            Err(status) => {
                meter.set_code(status.code());
                Err(status)
            }
        }
    }
}

/// Reads what is available of the body of `request`.
async fn read(
    request: Request<Body>,
    replay_limit: usize,
    deadline: Instant,
    caller_deadline: Option<Instant>,
    settings: CallSettings,
) -> Result<CallRequest, Status> {
    let (Parts { method, uri, headers, .. }, body) = request.into_parts();
    let mut body = Some(body);
    let body =
        poll_fn(|cx| Poll::Ready(RequestBody::read(body.take().unwrap_or_default(), replay_limit, cx)))
            .await?;
    let path = uri.into_parts().path_and_query;
    let CallSettings { idempotent, wait_for_ready, .. } = settings;
    let head =
        Head { method, path, headers, deadline, caller_deadline, idempotent, wait_for_ready, hedged: None };
    Ok(CallRequest::new(head, body))
}
