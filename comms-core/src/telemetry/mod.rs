//! The names of all metrics, attributes and spans, and a limit on log lines.
//!
//! If the OpenTelemetry semantic conventions 1.42 (<https://opentelemetry.io/docs/specs/semconv/>) have a name, that
//! name is used. All other names begin with `comms`.
//!
//! The constants of metrics are the names that Prometheus shows: dots are underscores, and the name ends in the unit or
//! in `_total`. Attributes keep their dots, which an exporter to Prometheus replaces by underscores.
//! `docs/reference/telemetry.md` lists each metric with its labels.
//!
//! The crates record through the `metrics` facade and keep the handles of their metrics. Therefore an application
//! installs its recorder first, then calls [`describe`] once, and then starts consumers, relays, channels and hubs.

mod log_limit;
mod table;

pub use log_limit::LogLimit;
pub use table::{METRICS, Metric, MetricKind, Unit, describe};

/// Histogram, seconds: one attempt of a handler. `messaging.process.duration`.
pub const PROCESS_DURATION: &str = "messaging_process_duration_seconds";
/// Counter: messages acknowledged by the broker. `messaging.client.sent.messages`.
pub const SENT_MESSAGES: &str = "messaging_client_sent_messages_total";
/// Counter: messages received by a consumer. `messaging.client.consumed.messages`.
pub const CONSUMED_MESSAGES: &str = "messaging_client_consumed_messages_total";
/// Gauge: keys of a consumer group of which a delivery is held, see [`Holds`](crate::transport::Holds).
pub const CONSUMER_HELD: &str = "comms_consumer_held_keys";
/// Counter: messages published as dead letters, or parked.
pub const DEAD_LETTERS: &str = "comms_dead_letters_total";
/// Gauge: messages between the position of a consumer group and the end of a partition, by group, topic and partition.
pub const CONSUMER_LAG: &str = "comms_consumer_lag_messages";
/// Gauge, seconds: age of the first message of a partition that a consumer group has received and not finished, by
/// group, topic and partition.
pub const CONSUMER_LAG_SECONDS: &str = "comms_consumer_lag_seconds";
/// Gauge, seconds: age of the oldest message in the outbox that a relay has not delivered.
pub const OUTBOX_LAG_SECONDS: &str = "comms_outbox_lag_seconds";
/// Counter: outbox rows that a relay has delivered.
pub const OUTBOX_RELAYED: &str = "comms_outbox_relayed_total";
/// Gauge: topics whose messages a relay does not publish: the transport refuses the topic, or the process that has the
/// lease of the relay does not name the topic in its configuration.
pub const OUTBOX_HELD: &str = "comms_outbox_held_topics";
/// Gauge: keys of which a relay has parked or held a message, so that the later messages of the key wait.
pub const OUTBOX_PARKED: &str = "comms_outbox_parked_keys";
/// Gauge: events that are newer than the last one that a projection has applied, estimated by their ids.
pub const PROJECTION_LAG: &str = "comms_projection_lag_events";
/// Gauge, seconds: age of the oldest event that a projection has read and not applied.
pub const PROJECTION_LAG_SECONDS: &str = "comms_projection_lag_seconds";
/// Counter: events that a projection has applied.
pub const PROJECTION_APPLIED: &str = "comms_projection_applied_total";
/// Gauge: 1 while a projection is parked at an event, otherwise 0.
pub const PROJECTION_PARKED: &str = "comms_projection_parked";
/// Counter: changes of a saga's run, by `saga` and `input`: `start`, `message`, `timer`, `operator`, `repair`.
pub const SAGA_TRANSITIONS: &str = "comms_saga_transitions_total";
/// Counter: steps of a saga that are held for an operator, by `saga`.
pub const SAGA_ALARMS: &str = "comms_saga_alarms_total";
/// Counter: inputs of a run that failed and are repeated, by `saga`.
pub const SAGA_FAILURES: &str = "comms_saga_failures_total";
/// Counter: messages that belonged to no run, by `saga`.
pub const SAGA_UNMATCHED: &str = "comms_saga_unmatched_total";
/// Gauge: runs that have not ended, by `saga` and `phase`: `running`, `compensating`, `held`.
pub const SAGA_RUNS: &str = "comms_saga_runs";
/// Gauge: runs that have not ended and whose definition is not registered, by `saga` and `version`.
pub const SAGA_UNREGISTERED: &str = "comms_saga_unregistered_runs";
/// Gauge, seconds: how long the oldest timer of a saga that is due has been due.
pub const SAGA_TIMER_LAG_SECONDS: &str = "comms_saga_timer_lag_seconds";
/// Histogram, seconds: HTTP requests served. `http.server.request.duration`.
pub const HTTP_SERVER_DURATION: &str = "http_server_request_duration_seconds";
/// Histogram, seconds: gRPC calls served. `rpc.server.call.duration`.
pub const RPC_SERVER_DURATION: &str = "rpc_server_call_duration_seconds";
/// Histogram, seconds: gRPC calls made. `rpc.client.call.duration`.
pub const RPC_CLIENT_DURATION: &str = "rpc_client_call_duration_seconds";
/// Gauge: open connections of a listener.
pub const CONNECTIONS: &str = "comms_connections";
/// Counter: connections that a listener closed because of a limit, by `reason`: `address_limit`, `head_timeout`,
/// `progress_timeout`.
pub const CONNECTIONS_CLOSED: &str = "comms_connections_closed_total";
/// Counter: TLS handshakes of a listener that failed, by `reason`: `timeout`, `closed`, `plain_text`, `no_certificate`,
/// `unknown_authority`, `bad_signature`, `expired`, `not_yet_valid`, `wrong_purpose`, `bad_certificate`, `incompatible`,
/// `alpn`, `refused_by_peer`, `protocol`.
pub const TLS_HANDSHAKE_FAILURES: &str = "comms_tls_handshake_failures_total";
/// Counter: changed files of a certificate or of authorities, by `material` (`identity`, `trust`) and `outcome`:
/// `loaded`, `refused`.
pub const TLS_RELOADS: &str = "comms_tls_reloads_total";
/// Gauge, seconds: time until the certificate of this process expires, by `certificate`, its first name.
pub const TLS_CERTIFICATE_EXPIRY: &str = "comms_tls_certificate_expiry_seconds";
/// Gauge: open WebSocket sessions.
pub const WS_SESSIONS: &str = "comms_ws_sessions";
/// Counter: frames written to sockets.
pub const WS_DELIVERED: &str = "comms_ws_delivered_total";
/// Counter: sessions closed because their client read too slowly.
pub const WS_SLOW_CLOSED: &str = "comms_ws_slow_closed_total";
/// Counter: messages removed from the queue of a slow session, whose client was notified.
pub const WS_DROPPED: &str = "comms_ws_dropped_total";
/// Counter: sessions opened, by `transport` (`websocket`, `event_stream`, `other`).
pub const WS_OPENED: &str = "comms_ws_opened_total";
/// Counter: sessions ended, by `code`, the close code. `none`: the client has ended the session, or the connection was lost.
pub const WS_CLOSED: &str = "comms_ws_closed_total";
/// Counter: sessions refused, by `reason`.
pub const WS_REFUSED: &str = "comms_ws_refused_total";
/// Gauge: topics that sessions join and do not take part in yet.
pub const WS_JOINING: &str = "comms_ws_joining_topics";
/// Gauge, bytes: bytes in the queues of all sockets.
pub const WS_QUEUED_BYTES: &str = "comms_ws_queued_bytes";
/// Gauge: subscriptions whose window is full, and which wait for an acknowledgement of their client.
pub const WS_FULL_WINDOWS: &str = "comms_ws_full_windows";
/// Histogram, seconds: calls through a policy, by `name` and `outcome`.
pub const CALL_DURATION: &str = "comms_call_duration_seconds";
/// Counter: attempts of a call after the first one, by `name`.
pub const CALL_RETRIES: &str = "comms_call_retries_total";
/// Counter: retries that were due and that a policy did not make, by `name` and `reason`: `attempts`, `pushback`,
/// `deadline`, `budget`.
pub const CALL_RETRIES_DENIED: &str = "comms_call_retries_denied_total";
/// Counter: calls that a guard rejected, by `name` and `guard`.
pub const CALL_REJECTIONS: &str = "comms_call_rejections_total";
/// Counter: calls answered by a fallback, by `name`.
pub const CALL_FALLBACKS: &str = "comms_call_fallbacks_total";
/// Counter: changes of a breaker's state, by `name` and the new `state`.
pub const BREAKER_TRANSITIONS: &str = "comms_breaker_transitions_total";
/// Counter: requests that a shedder refused, by `name` and `priority`.
pub const SHED_REQUESTS: &str = "comms_shed_requests_total";
/// Gauge: the concurrency limit of a shedder, by `name`.
pub const SHED_LIMIT: &str = "comms_shed_limit";
/// Gauge: hosts that an outlier detector has ejected now, by `name`.
pub const OUTLIER_EJECTED: &str = "comms_outlier_ejected_hosts";
/// Counter: ejections of hosts, by `name` and `reason`: `success_rate`, `failure_percentage`, `consecutive_failures`.
pub const OUTLIER_EJECTIONS: &str = "comms_outlier_ejections_total";
/// Counter: hedged attempts, which are the attempts after the first one of a call, by `name`.
pub const HEDGES: &str = "comms_hedges_total";
/// Counter: calls whose result is that of a hedged attempt, by `name`.
pub const HEDGE_WINS: &str = "comms_hedge_wins_total";
/// Counter: hedged attempts that were due and not made, by `name` and `reason`: `budget`, `pushback`,
/// `guard` (a guard of this process refused the attempt).
pub const HEDGES_DENIED: &str = "comms_hedges_denied_total";
/// Counter: server streams that were opened again after a break, by `name` and the `reason`: an
/// [`ErrorKind`](crate::ErrorKind) as text, `silence` or `end`.
pub const STREAM_RESUMES: &str = "comms_grpc_stream_resumes_total";

/// Span, and the value of `messaging.operation.name`: one attempt of a handler.
pub const PROCESS: &str = "process";

/// Attribute: the transport of the messages, `kafka` or `outbox`.
pub const MESSAGING_SYSTEM: &str = "messaging.system";
/// Attribute: the operation on a message, [`PROCESS`].
pub const MESSAGING_OPERATION_NAME: &str = "messaging.operation.name";
/// Attribute: the topic, exchange or queue.
pub const MESSAGING_DESTINATION_NAME: &str = "messaging.destination.name";
/// Attribute: the consumer group.
pub const MESSAGING_CONSUMER_GROUP_NAME: &str = "messaging.consumer.group.name";
/// Attribute of spans, and never of metrics, because its values have no bound: the `ce_id` of the message.
pub const MESSAGING_MESSAGE_ID: &str = "messaging.message.id";
/// Attribute of spans: the number of messages of a batch.
pub const MESSAGING_BATCH_MESSAGE_COUNT: &str = "messaging.batch.message_count";
/// Attribute of a failed attempt: the [`ErrorKind`](crate::ErrorKind) as text.
pub const ERROR_TYPE: &str = "error.type";
/// Attribute: the result of an attempt, an [`Outcome`](crate::Outcome) or an [`ErrorKind`](crate::ErrorKind) as text.
pub const OUTCOME: &str = "outcome";
/// Attribute of spans: the W3C trace id as 32 hexadecimal digits, by which logs can be searched.
pub const TRACE_ID: &str = "trace_id";
