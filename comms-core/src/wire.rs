//! Header names on the wire: the contract of `docs/reference/wire-formats.md`, in one place.

/// `CloudEvents` binary mode, Kafka binding: `ce_specversion`, always `1.0`.
pub const CE_SPECVERSION: &str = "ce_specversion";
/// `CloudEvents` id: with `ce_source` the identity of a message.
pub const CE_ID: &str = "ce_id";
/// `CloudEvents` source: the service that says it.
pub const CE_SOURCE: &str = "ce_source";
/// `CloudEvents` type, with the major version: `order.status.changed.v1`.
pub const CE_TYPE: &str = "ce_type";
/// `CloudEvents` time, RFC 3339 in UTC with milliseconds.
pub const CE_TIME: &str = "ce_time";
/// Extension: id of the request or event that began the conversation.
pub const CE_CORRELATION_ID: &str = "ce_correlationid";
/// Extension: `source/id` of the event that caused this one.
pub const CE_CAUSATION_ID: &str = "ce_causationid";
/// Content type of the payload.
pub const CONTENT_TYPE: &str = "content-type";
/// W3C trace context of the hop.
pub const TRACEPARENT: &str = "traceparent";
/// W3C vendor state, carried along untouched.
pub const TRACESTATE: &str = "tracestate";
/// Key of an idempotent request, in HTTP and gRPC.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Remaining time of a gRPC request.
pub const GRPC_TIMEOUT: &str = "grpc-timeout";
/// Remaining time of an HTTP request: seconds, or milliseconds with `ms`.
pub const REQUEST_TIMEOUT: &str = "request-timeout";
/// How much a request matters, in HTTP and gRPC: [`crate::context::Priority`]; absent is `standard`. Not RFC 9218's
/// `priority`, which is about the order in which responses are sent.
pub const REQUEST_PRIORITY: &str = "request-priority";
/// What `ce_correlationid` is to events, in HTTP and gRPC.
pub const CORRELATION_ID: &str = "x-correlation-id";
/// What `ce_causationid` is to events, in HTTP and gRPC.
pub const CAUSATION_ID: &str = "x-causation-id";
/// On an HTTP response that is a stored reply: `true`.
pub const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";
/// On every response of a gateway: the trace's 32 hexadecimal digits.
pub const TRACE_ID: &str = "trace-id";
/// In trailers of a gRPC refusal (gRFC A6): the least wait before another try, in milliseconds.
pub const GRPC_RETRY_PUSHBACK_MS: &str = "grpc-retry-pushback-ms";

/// Standard Webhooks: the webhook's id, the same on every attempt.
pub const WEBHOOK_ID: &str = "webhook-id";
/// Standard Webhooks: when this attempt was made, whole seconds since 1970.
pub const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";
/// Standard Webhooks: space-separated signatures, each `version,base64`.
pub const WEBHOOK_SIGNATURE: &str = "webhook-signature";

/// Dead letter: topic the record came from.
pub const DLQ_TOPIC: &str = "dlq_original_topic";
/// Dead letter: partition the record came from.
pub const DLQ_PARTITION: &str = "dlq_original_partition";
/// Dead letter: offset the record had.
pub const DLQ_OFFSET: &str = "dlq_original_offset";
/// Dead letter: timestamp the record had, milliseconds since 1970.
pub const DLQ_TIMESTAMP: &str = "dlq_original_timestamp";
/// Dead letter: consumer group that gave up.
pub const DLQ_GROUP: &str = "dlq_group";
/// Dead letter: how often the group tried.
pub const DLQ_ATTEMPTS: &str = "dlq_attempts";
/// Dead letter: [`crate::ErrorKind`] as text.
pub const DLQ_ERROR_KIND: &str = "dlq_error_kind";
/// Dead letter: the reason, at most 1 KiB.
pub const DLQ_ERROR: &str = "dlq_error";
/// Dead letter: bytes of a payload that was too large to be written along; the original record has it.
pub const DLQ_PAYLOAD_OMITTED: &str = "dlq_payload_omitted";
/// Dead letter: bytes of a key that was too large to be written along; the original record has it.
pub const DLQ_KEY_OMITTED: &str = "dlq_key_omitted";
/// Dead letter: number of headers that were too large to be written along; the original record has them.
pub const DLQ_HEADERS_OMITTED: &str = "dlq_headers_omitted";
/// Dead letter: when the group gave up, RFC 3339.
pub const DLQ_FAILED_AT: &str = "dlq_failed_at";

/// On a gRPC response without a body: no handler ran. The value is the kind of the refusal, `not_executed` or
/// `rejected`.
pub const NOT_EXECUTED: &str = "comms-not-executed";
