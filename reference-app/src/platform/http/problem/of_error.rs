//! The table of errors, as an HTTP client sees it.

use std::time::Duration;

use axum::http::StatusCode;
use comms_core::{Error, ErrorKind};
use tracing::Level;

use super::Problem;

/// The status is that of the error's kind, or of the guard that refused the call. The text is the error's own where a
/// client may read it ([`Error::public_text`]), and a fixed one otherwise; the whole chain is logged. "Nothing happened" is
/// said only for `NotExecuted` and `Rejected`, which prove it.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        log(&error);
        let http = error.http_status();
        let wait = error.retry_after.unwrap_or(Duration::from_secs(1));
        let text = |fallback: &str| error.public_text().unwrap_or_else(|| fallback.to_owned());
        let mut problem = match error.kind {
            ErrorKind::NotFound => Self::new(http, "not-found", "Not found", text("There is no such thing.")),
            ErrorKind::Invalid => {
                Self::new(http, "refused", "The request was refused", text("It cannot be accepted."))
            }
            ErrorKind::Unauthenticated => {
                let detail = text("The credentials are refused.");
                Self::new(http, "unauthorized", "Authentication is required", detail)
            }
            ErrorKind::PermissionDenied => {
                Self::new(http, "forbidden", "Not allowed", text("The credentials do not allow it."))
            }
            ErrorKind::Conflict => {
                let detail = text("Another request changed the same thing; read it again.");
                let title = "Conflict with another request";
                Self::new(http, "conflict", title, detail).with_retry_after(wait)
            }
            ErrorKind::NotExecuted | ErrorKind::Rejected => not_executed(http, wait),
            ErrorKind::Indeterminate => {
                let detail = "It may have happened. Ask again with the same Idempotency-Key to learn it.";
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
    let again = "Nothing happened; ask again.";
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
        Level::WARN => tracing::warn!(status, error = %chain, "request not answered"),
        _ => tracing::debug!(status, error = %chain, "request refused"),
    }
}

/// A refusal of the client's input is no event for an operator. Neither is a guard's refusal to begin a call: a breaker
/// logs its own transitions, and while it is open every request would be a warning.
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

    /// What a client gets of a call to a peer that never answers.
    async fn asked(policy: &Policy) -> (u16, &'static str, Option<Guard>, bool) {
        let error = policy.run(std::future::pending::<Result<(), Error>>).await.unwrap_err();
        let parts = Problem::from(error).0;
        let waits = parts.headers.contains_key(header::RETRY_AFTER);
        (parts.status.as_u16(), parts.code, parts.guard, waits)
    }

    #[tokio::test(start_paused = true)]
    async fn every_guard_has_its_answer() {
        let mut config = PolicyConfig::background();
        (config.timeout, config.retry) = (Some(Duration::from_secs(1)), None);
        config.bulkhead = Some(BulkheadConfig::new(1));
        let policy = Policy::new("order", config).unwrap();
        assert_eq!(asked(&policy).await, (504, "timeout", Some(Guard::Timeout), false));

        let passed = Deadline::after(Duration::ZERO, &Clock::system());
        let late = Context::default().with_deadline(passed).scope(asked(&policy)).await;
        assert_eq!(late, (504, "timeout", Some(Guard::Deadline), false));

        let bulkhead = policy.bulkhead().unwrap();
        let seat = bulkhead.try_acquire().unwrap();
        assert_eq!(asked(&policy).await, (503, "unavailable", Some(Guard::Bulkhead), true));
        drop(seat);

        policy.breaker().unwrap().force_open();
        assert_eq!(asked(&policy).await, (503, "unavailable", Some(Guard::Breaker), true));
    }

    #[test]
    fn a_text_that_was_not_written_for_a_client_stays_in_the_log() {
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
    fn an_open_breaker_is_no_warning_for_every_request() {
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
