//! Converts an error to a problem: the table of errors for HTTP clients.

use std::time::Duration;

use axum::http::StatusCode;
use comms_core::{Error, ErrorKind};
use tracing::Level;

use super::Problem;

/// The status comes from the error's kind, or from the guard that refused the call. The detail is the error's text if
/// clients may read it ([`Error::public_text`]), and a fixed text otherwise. The whole chain is logged. Only
/// `NotExecuted` and `Rejected` state that nothing happened, because only they prove it.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        log(&error);
        let http = error.http_status();
        let wait = error.retry_after.unwrap_or(Duration::from_secs(1));
        let text = |fallback: &str| error.public_text().unwrap_or_else(|| fallback.to_owned());
        let mut problem = match error.kind {
            ErrorKind::NotFound => {
                Self::new(http, "not-found", "Not found", text("The requested resource does not exist."))
            }
            ErrorKind::Invalid => {
                Self::new(http, "refused", "The request was refused", text("The request cannot be accepted."))
            }
            ErrorKind::Unauthenticated => {
                let detail = text("The credentials are not valid.");
                Self::new(http, "unauthorized", "Authentication is required", detail)
            }
            ErrorKind::PermissionDenied => Self::new(
                http,
                "forbidden",
                "Not allowed",
                text("The credentials do not allow this request."),
            ),
            ErrorKind::Conflict => {
                let detail =
                    text("Another request changed the same resource. Read it again before you retry.");
                let title = "Conflict with another request";
                Self::new(http, "conflict", title, detail).with_retry_after(wait)
            }
            ErrorKind::NotExecuted | ErrorKind::Rejected => not_executed(http, wait),
            ErrorKind::Indeterminate => {
                let detail =
                    "The request may have happened. Retry with the same Idempotency-Key to learn the result.";
                Self::new(http, "timeout", "The request took too long", detail)
            }
            ErrorKind::Misconfigured => Self::broken(http, "bad-gateway"),
            _ => Self::broken(http, "internal"),
        };
        problem.0.guard = error.rejection().map(|rejection| rejection.guard);
        problem
    }
}

fn not_executed(http: StatusCode, wait: Duration) -> Problem {
    let again = "Nothing happened. Retry the request.";
    match http {
        StatusCode::TOO_MANY_REQUESTS => {
            Problem::new(http, "rate-limit", "Too many requests", again).with_retry_after(wait)
        }
        StatusCode::GATEWAY_TIMEOUT => Problem::new(http, "timeout", "The request took too long", again),
        _ => Problem::new(http, "unavailable", "Temporarily unavailable", again).with_retry_after(wait),
    }
}

fn log(error: &Error) {
    let (status, chain) = (error.http_status().as_u16(), error.chain());
    match level(error) {
        Level::ERROR => tracing::error!(status, error = %chain, "request failed"),
        Level::WARN => tracing::warn!(status, error = %chain, "request could not be completed"),
        _ => tracing::debug!(status, error = %chain, "request refused"),
    }
}

/// Returns the log level. A rejection of a client's input does not concern an operator, nor does a guard that refuses
/// a call: a breaker logs its own transitions, and an open breaker would produce a warning for every request.
fn level(error: &Error) -> Level {
    match error.kind {
        ErrorKind::Invalid
        | ErrorKind::NotFound
        | ErrorKind::Conflict
        | ErrorKind::Unauthenticated
        | ErrorKind::PermissionDenied => Level::DEBUG,
        ErrorKind::Rejected if error.rejection().is_some() => Level::DEBUG,
        ErrorKind::NotExecuted | ErrorKind::Rejected | ErrorKind::Indeterminate => Level::WARN,
        _ => Level::ERROR,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header;
    use comms_core::{
        clock::Clock,
        context::{Context, Deadline},
        resilience::{BulkheadConfig, Guard, Policy, PolicyConfig},
    };

    use super::*;

    /// Returns the client's view of a call to a peer that never responds: status, code, guard, and whether
    /// `Retry-After` is present.
    async fn response(policy: &Policy) -> (u16, &'static str, Option<Guard>, bool) {
        let error = policy.run(std::future::pending::<Result<(), Error>>).await.unwrap_err();
        let parts = Problem::from(error).0;
        let waits = parts.headers.contains_key(header::RETRY_AFTER);
        (parts.status.as_u16(), parts.code, parts.guard, waits)
    }

    #[tokio::test(start_paused = true)]
    async fn each_guard_has_a_distinct_response() {
        let mut config = PolicyConfig::background();
        (config.timeout, config.retry) = (Some(Duration::from_secs(1)), None);
        config.bulkhead = Some(BulkheadConfig::new(1));
        let policy = Policy::new("order", config).unwrap();
        assert_eq!(response(&policy).await, (504, "timeout", Some(Guard::Timeout), false));

        let passed = Deadline::after(Duration::ZERO, &Clock::system());
        let late = Context::default().with_deadline(passed).scope(response(&policy)).await;
        assert_eq!(late, (504, "timeout", Some(Guard::Deadline), false));

        let bulkhead = policy.bulkhead().unwrap();
        let permit = bulkhead.try_acquire().unwrap();
        assert_eq!(response(&policy).await, (503, "unavailable", Some(Guard::Bulkhead), true));
        drop(permit);

        policy.breaker().unwrap().force_open();
        assert_eq!(response(&policy).await, (503, "unavailable", Some(Guard::Breaker), true));
    }

    #[test]
    fn a_text_that_clients_may_not_read_is_only_logged() {
        for kind in ErrorKind::ALL {
            for error in [
                Error::new(kind, std::io::Error::other("secret")).context("secret"),
                Error::new(kind, Error::invalid("secret")),
            ] {
                let parts = Problem::from(error).0;
                assert!(!parts.detail.contains("secret") && !parts.detail.is_empty(), "{kind}");
                assert_eq!(parts.status, kind.http_status(), "{kind}");
            }
        }
        let own = Problem::from(Error::invalid("the quantity must be positive"));
        assert_eq!(own.detail(), "the quantity must be positive");
    }

    #[test]
    fn an_open_breaker_logs_no_warning_per_request() {
        let policy = Policy::new("order", PolicyConfig::background()).unwrap();
        let breaker = policy.breaker().unwrap();
        breaker.force_open();
        let refused = Error::from(breaker.acquire().unwrap_err()).context("place");
        assert_eq!(level(&refused), Level::DEBUG);
        assert_eq!(level(&Error::indeterminate("lost")), Level::WARN);
        assert_eq!(level(&Error::internal("corrupt")), Level::ERROR);
    }

    #[test]
    fn nothing_happened_is_said_only_with_proof() {
        for kind in ErrorKind::ALL {
            let problem = Problem::from(Error::new(kind, "why"));
            let proven = matches!(kind, ErrorKind::NotExecuted | ErrorKind::Rejected);
            assert_eq!(problem.detail().contains("Nothing happened"), proven, "{kind}");
            let open = problem.detail().contains("may have happened");
            assert_eq!(open, kind == ErrorKind::Indeterminate, "{kind}");
        }
    }
}
