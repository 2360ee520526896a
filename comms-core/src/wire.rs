//! The names of headers on the wire.

/// `CloudEvents` binary mode, Kafka binding: `ce_specversion`, always `1.0`.
pub const CE_SPECVERSION: &str = "ce_specversion";
/// `CloudEvents` id: with `ce_source` the identity of a message.
pub const CE_ID: &str = "ce_id";
/// `CloudEvents` source: the service that made the event.
pub const CE_SOURCE: &str = "ce_source";
/// `CloudEvents` type, with the major version: `order.status.changed.v1`.
pub const CE_TYPE: &str = "ce_type";
/// `CloudEvents` time, RFC 3339 in UTC with milliseconds.
pub const CE_TIME: &str = "ce_time";
/// `CloudEvents` extension: correlation id, the id of the request or event that began the conversation.
pub const CE_CORRELATION_ID: &str = "ce_correlationid";
/// `CloudEvents` extension: causation id, `source/id` of the event that caused this one.
pub const CE_CAUSATION_ID: &str = "ce_causationid";
/// `CloudEvents` extension Auth Context: the kind of principal that caused the event, see
/// [`crate::event_sourcing::AuthType`].
pub const CE_AUTH_TYPE: &str = "ce_authtype";
/// `CloudEvents` extension Auth Context: the id of the principal that caused the event.
pub const CE_AUTH_ID: &str = "ce_authid";
/// `CloudEvents` extension: why the principal caused the event.
pub const CE_REASON: &str = "ce_reason";
/// Content type of the payload.
pub const CONTENT_TYPE: &str = "content-type";
/// W3C trace context of the hop.
pub const TRACEPARENT: &str = "traceparent";
/// W3C trace state: entries of tracing vendors, passed on unchanged.
pub const TRACESTATE: &str = "tracestate";
/// Key of an idempotent request, in HTTP and gRPC.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Remaining time of a gRPC request.
pub const GRPC_TIMEOUT: &str = "grpc-timeout";
/// Remaining time of an HTTP request: seconds, or milliseconds with `ms`.
pub const REQUEST_TIMEOUT: &str = "request-timeout";
/// The priority of a request in HTTP and gRPC, see [`crate::context::Priority`]. A request without it has the priority
/// `standard`. It differs from `priority` of RFC 9218, which orders the responses of one connection.
pub const REQUEST_PRIORITY: &str = "request-priority";
/// The correlation id in HTTP and gRPC; events carry it as [`CE_CORRELATION_ID`].
pub const CORRELATION_ID: &str = "x-correlation-id";
/// The causation id in HTTP and gRPC; events carry it as [`CE_CAUSATION_ID`].
pub const CAUSATION_ID: &str = "x-causation-id";
/// On an HTTP response that is a stored reply: `true`.
pub const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";
/// On every response of a gateway: the trace's 32 hexadecimal digits.
pub const TRACE_ID: &str = "trace-id";
/// In the trailers of a refused gRPC call (gRFC A6): the shortest wait before the next attempt, in milliseconds.
pub const GRPC_RETRY_PUSHBACK_MS: &str = "grpc-retry-pushback-ms";

/// Standard Webhooks: the webhook's id, the same on every attempt.
pub const WEBHOOK_ID: &str = "webhook-id";
/// Standard Webhooks: the time of this attempt, in whole seconds since 1970.
pub const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";
/// Standard Webhooks: signatures separated by spaces, each `version,base64`.
pub const WEBHOOK_SIGNATURE: &str = "webhook-signature";

/// Dead letter: topic of the original record.
pub const DLQ_TOPIC: &str = "dlq_original_topic";
/// Dead letter: partition of the original record.
pub const DLQ_PARTITION: &str = "dlq_original_partition";
/// Dead letter: offset of the original record.
pub const DLQ_OFFSET: &str = "dlq_original_offset";
/// Dead letter: timestamp of the original record, in milliseconds since 1970.
pub const DLQ_TIMESTAMP: &str = "dlq_original_timestamp";
/// Dead letter: consumer group that wrote the dead letter.
pub const DLQ_GROUP: &str = "dlq_group";
/// Dead letter: number of attempts of the group.
pub const DLQ_ATTEMPTS: &str = "dlq_attempts";
/// Dead letter: [`crate::ErrorKind`] as text.
pub const DLQ_ERROR_KIND: &str = "dlq_error_kind";
/// Dead letter: the reason, at most 1 KiB.
pub const DLQ_ERROR: &str = "dlq_error";
/// Dead letter: size in bytes of a payload that was too large for the dead letter. Only the original record has the
/// payload.
pub const DLQ_PAYLOAD_OMITTED: &str = "dlq_payload_omitted";
/// Dead letter: size in bytes of a key that was too large for the dead letter. Only the original record has the key.
pub const DLQ_KEY_OMITTED: &str = "dlq_key_omitted";
/// Dead letter: number of headers that were too large for the dead letter. Only the original record has these headers.
pub const DLQ_HEADERS_OMITTED: &str = "dlq_headers_omitted";
/// Dead letter: time at which the dead letter was made, RFC 3339.
pub const DLQ_FAILED_AT: &str = "dlq_failed_at";

/// On a response without a body: no handler ran. The value is the kind of the refusal: `not_executed` or `rejected`, which
/// a caller may repeat, or `unauthenticated` or `permission_denied`.
pub const NOT_EXECUTED: &str = "comms-not-executed";
