-- docs/reference/tables.md explains the columns. {s} is the schema.

CREATE TABLE {s}.comms_outbox (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    id bigint GENERATED ALWAYS AS IDENTITY (CACHE 1),
    slot smallint NOT NULL DEFAULT (extract(epoch FROM now())::bigint / 3600 % 4)::smallint,
    source text NOT NULL,
    msg_id text NOT NULL,
    topic text NOT NULL,
    key bytea,
    type text,
    headers bytea NOT NULL,
    payload bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id, slot)
) PARTITION BY LIST (slot);
CREATE TABLE {s}.comms_outbox_0 PARTITION OF {s}.comms_outbox FOR VALUES IN (0);
CREATE TABLE {s}.comms_outbox_1 PARTITION OF {s}.comms_outbox FOR VALUES IN (1);
CREATE TABLE {s}.comms_outbox_2 PARTITION OF {s}.comms_outbox FOR VALUES IN (2);
CREATE TABLE {s}.comms_outbox_3 PARTITION OF {s}.comms_outbox FOR VALUES IN (3);
CREATE INDEX comms_outbox_xid_id ON {s}.comms_outbox (xid, id);

CREATE TABLE {s}.comms_outbox_cursor (
    relay text PRIMARY KEY,
    snap pg_snapshot NOT NULL,
    win pg_snapshot,
    last_id bigint NOT NULL,
    covers text[],
    token uuid NOT NULL,
    owner text NOT NULL,
    lease interval NOT NULL,
    lease_until timestamptz NOT NULL,
    system_identifier bigint NOT NULL
) WITH (fillfactor = 20);

-- Recovery after a crash empties an unlogged table: see postgres/read/mod.rs.
CREATE UNLOGGED TABLE {s}.comms_outbox_guard (
    relay text PRIMARY KEY,
    token uuid NOT NULL
);

CREATE TABLE {s}.comms_outbox_branch (
    relay text NOT NULL,
    topic text NOT NULL,
    snap pg_snapshot NOT NULL,
    win pg_snapshot,
    last_id bigint NOT NULL,
    error_kind text,
    error text,
    since timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (relay, topic)
) WITH (fillfactor = 50);

CREATE TABLE {s}.comms_outbox_parked (
    relay text NOT NULL,
    outbox_id bigint NOT NULL,
    topic text NOT NULL,
    key bytea,
    state text NOT NULL DEFAULT 'parked' CHECK (state IN ('parked', 'held', 'released')),
    attempts integer NOT NULL,
    error_kind text,
    error text NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT now(),
    retry_at timestamptz,
    PRIMARY KEY (relay, outbox_id)
);
CREATE INDEX comms_outbox_parked_lane ON {s}.comms_outbox_parked (relay, topic, key, outbox_id);
CREATE INDEX comms_outbox_parked_due ON {s}.comms_outbox_parked (relay, outbox_id) WHERE state <> 'parked';

CREATE TABLE {s}.comms_inbox (
    subscriber text NOT NULL,
    handler text NOT NULL,
    source text NOT NULL,
    id text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (subscriber, handler, source, id)
);

CREATE TABLE {s}.comms_replies (
    scope text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    status integer,
    headers bytea,
    body bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, key)
);

CREATE TABLE {s}.comms_event (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    id bigint GENERATED ALWAYS AS IDENTITY (CACHE 1),
    source text NOT NULL,
    msg_id text NOT NULL,
    topic text NOT NULL,
    key bytea NOT NULL,
    type text,
    headers bytea NOT NULL,
    payload bytea,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT comms_event_version PRIMARY KEY (topic, key, version),
    CONSTRAINT comms_event_identity UNIQUE (source, msg_id)
);
CREATE INDEX comms_event_xid_id ON {s}.comms_event (xid, id);
CREATE UNIQUE INDEX comms_event_id ON {s}.comms_event (id);

CREATE TABLE {s}.comms_snapshot (
    topic text NOT NULL,
    key bytea NOT NULL,
    schema bigint NOT NULL,
    version bigint NOT NULL,
    state bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, key)
);

CREATE TABLE {s}.comms_projection (
    name text PRIMARY KEY,
    live_revision bigint NOT NULL,
    highest_live bigint NOT NULL
);

CREATE TABLE {s}.comms_projection_parked (
    name text NOT NULL,
    revision bigint NOT NULL,
    event_id bigint NOT NULL,
    source text NOT NULL,
    msg_id text NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    version bigint NOT NULL,
    state text NOT NULL DEFAULT 'parked' CHECK (state IN ('parked', 'retry', 'skipped')),
    error_kind text NOT NULL,
    error text NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT now(),
    reason text,
    skipped_at timestamptz,
    PRIMARY KEY (name, revision, event_id)
);

CREATE TABLE {s}.comms_saga (
    saga text NOT NULL,
    id text NOT NULL,
    version bigint NOT NULL,
    phase text NOT NULL CHECK (phase IN ('running', 'compensating', 'held', 'completed', 'failed')),
    state text NOT NULL,
    revision bigint NOT NULL,
    instance json NOT NULL,
    headers bytea NOT NULL,
    failures integer NOT NULL DEFAULT 0,
    error text,
    started_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    PRIMARY KEY (saga, id)
) WITH (fillfactor = 50);
CREATE INDEX comms_saga_open ON {s}.comms_saga (saga, version, phase) INCLUDE (id, failures)
    WHERE phase IN ('running', 'compensating', 'held');
CREATE INDEX comms_saga_ended ON {s}.comms_saga (updated_at) WHERE phase IN ('completed', 'failed');

CREATE TABLE {s}.comms_saga_timer (
    saga text NOT NULL,
    id text NOT NULL,
    timer text NOT NULL,
    due_at timestamptz NOT NULL,
    PRIMARY KEY (saga, id, timer)
);
CREATE INDEX comms_saga_timer_due ON {s}.comms_saga_timer (due_at);

CREATE TABLE {s}.comms_saga_log (
    saga text NOT NULL,
    id text NOT NULL,
    sequence bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT statement_timestamp(),
    phase text NOT NULL,
    state text NOT NULL,
    entry json NOT NULL,
    PRIMARY KEY (saga, id, sequence)
);

CREATE TABLE {s}.comms_saga_early (
    saga text NOT NULL,
    id text NOT NULL,
    source text NOT NULL,
    msg_id text NOT NULL,
    topic text NOT NULL,
    key bytea,
    headers bytea NOT NULL,
    payload bytea,
    kept_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    PRIMARY KEY (saga, id, source, msg_id)
);
CREATE INDEX comms_saga_early_kept ON {s}.comms_saga_early (kept_at);
