//! Admits the callers of a gRPC service by their identity.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    extract::Request,
    middleware::{self, Next},
    response::Response,
};
use comms_core::{Error, clock::Clock, telemetry::LogLimit};
use comms_grpc::{PeerIdentity, refused};
use tonic::service::Routes;

/// The callers of one service.
struct Callers {
    service: &'static str,
    ids: BTreeSet<String>,
    log: LogLimit,
}

/// Returns `routes` of `service`, which refuse every caller whose SPIFFE id is not one of `ids` with PERMISSION_DENIED. A
/// caller without an identity is refused, too. The refusal comes before any handler.
pub(super) fn guard(service: &'static str, ids: BTreeSet<String>, routes: Routes) -> Routes {
    let callers = Arc::new(Callers { service, ids, log: LogLimit::new() });
    let check = move |request: Request, next: Next| {
        let callers = callers.clone();
        async move {
            match callers.admit(&request) {
                Ok(()) => next.run(request).await,
                Err(error) => response(&error),
            }
        }
    };
    Routes::from(routes.into_axum_router().layer(middleware::from_fn(check)))
}

impl Callers {
    fn admit(&self, request: &Request) -> Result<(), Error> {
        let id =
            request.extensions().get::<PeerIdentity>().and_then(|identity| identity.spiffe_id.as_deref());
        if id.is_some_and(|id| self.ids.contains(id)) {
            return Ok(());
        }
        if let Some(suppressed) = self.log.admit(&Clock::system()) {
            tracing::warn!(
                caller = id.unwrap_or("without a SPIFFE id"),
                called = self.service,
                method = request.uri().path(),
                admitted = ?self.ids,
                suppressed,
                "a call was refused: the caller registered no call to this service"
            );
        }
        Err(Error::permission_denied("this identity may not call this service"))
    }
}

fn response(error: &Error) -> Response {
    refused(error).into_http::<tonic::body::Body>().map(axum::body::Body::new)
}
