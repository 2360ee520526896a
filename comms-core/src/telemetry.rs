//! Metric names, after the OpenTelemetry semantic conventions 1.42 where they have one.
//! In Prometheus form the dots become underscores.

/// Histogram, seconds: one try of a handler.
pub const PROCESS_DURATION: &str = "messaging_process_duration_seconds";
/// Counter: messages acknowledged by a carrier.
pub const SENT_MESSAGES: &str = "messaging_client_sent_messages_total";
/// Counter: messages received by a consumer.
pub const CONSUMED_MESSAGES: &str = "messaging_client_consumed_messages_total";
/// Counter: messages carried to the dead letters, or parked.
pub const DEAD_LETTERS: &str = "comms_dead_letters_total";
/// Gauge: messages behind the newest one, per group, topic and partition.
pub const CONSUMER_LAG: &str = "comms_consumer_lag_messages";
/// Gauge, seconds: age of the oldest message in the outbox that a relay has not delivered.
pub const OUTBOX_LAG_SECONDS: &str = "comms_outbox_lag_seconds";
/// Counter: rows a relay has delivered.
pub const OUTBOX_RELAYED: &str = "comms_outbox_relayed_total";
/// Gauge: keys a relay has parked.
pub const OUTBOX_PARKED: &str = "comms_outbox_parked_keys";
/// Histogram, seconds: HTTP requests served.
pub const HTTP_SERVER_DURATION: &str = "http_server_request_duration_seconds";
/// Histogram, seconds: gRPC calls served.
pub const RPC_SERVER_DURATION: &str = "rpc_server_call_duration_seconds";
/// Histogram, seconds: gRPC calls made.
pub const RPC_CLIENT_DURATION: &str = "rpc_client_call_duration_seconds";
/// Gauge: open WebSocket sessions.
pub const WS_SESSIONS: &str = "comms_ws_sessions";
/// Counter: frames handed to sockets.
pub const WS_DELIVERED: &str = "comms_ws_delivered_total";
/// Counter: sessions closed for being too slow.
pub const WS_SLOW_CLOSED: &str = "comms_ws_slow_closed_total";
/// Histogram, seconds: calls through a policy, by `name` and `outcome`.
pub const CALL_DURATION: &str = "comms_call_duration_seconds";
/// Counter: attempts after the first, by `name`.
pub const CALL_RETRIES: &str = "comms_call_retries_total";
/// Counter: retries that were wanted and not made, by `name` and `reason`: `attempts`, `budget`, `deadline`.
pub const CALL_RETRIES_DENIED: &str = "comms_call_retries_denied_total";
/// Counter: calls a guard said no to, by `name` and `guard`.
pub const CALL_REJECTIONS: &str = "comms_call_rejections_total";
/// Counter: calls answered by a fallback, by `name`.
pub const CALL_FALLBACKS: &str = "comms_call_fallbacks_total";
/// Counter: changes of a breaker's state, by `name` and the new `state`.
pub const BREAKER_TRANSITIONS: &str = "comms_breaker_transitions_total";
