-- docs/reference/tables.md explains the columns. Times are milliseconds since 1970.

CREATE TABLE comms_outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL,
    msg_id TEXT NOT NULL,
    topic TEXT NOT NULL,
    key BLOB,
    type TEXT,
    headers BLOB NOT NULL,
    payload BLOB,
    created_at INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
) STRICT;

CREATE TABLE comms_outbox_cursor (
    relay TEXT PRIMARY KEY,
    last_id INTEGER NOT NULL,
    covers TEXT,
    token TEXT NOT NULL,
    owner TEXT NOT NULL,
    lease INTEGER NOT NULL,
    lease_until INTEGER NOT NULL
) STRICT;

CREATE TABLE comms_outbox_branch (
    relay TEXT NOT NULL,
    topic TEXT NOT NULL,
    last_id INTEGER NOT NULL,
    error_kind TEXT,
    error TEXT,
    since INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    PRIMARY KEY (relay, topic)
) STRICT, WITHOUT ROWID;

CREATE TABLE comms_outbox_parked (
    relay TEXT NOT NULL,
    outbox_id INTEGER NOT NULL,
    topic TEXT NOT NULL,
    key BLOB,
    state TEXT NOT NULL DEFAULT 'parked' CHECK (state IN ('parked', 'held', 'released')),
    attempts INTEGER NOT NULL,
    error_kind TEXT,
    error TEXT NOT NULL,
    parked_at INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    retry_at INTEGER,
    PRIMARY KEY (relay, outbox_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX comms_outbox_parked_lane ON comms_outbox_parked (relay, topic, key, outbox_id);
CREATE INDEX comms_outbox_parked_due ON comms_outbox_parked (relay, outbox_id) WHERE state <> 'parked';

CREATE TABLE comms_inbox (
    subscriber TEXT NOT NULL,
    handler TEXT NOT NULL,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    applied_at INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    PRIMARY KEY (subscriber, handler, source, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE comms_replies (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    status INTEGER,
    headers BLOB,
    body BLOB,
    created_at INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE comms_event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL,
    msg_id TEXT NOT NULL,
    topic TEXT NOT NULL,
    key BLOB NOT NULL,
    type TEXT,
    headers BLOB NOT NULL,
    payload BLOB,
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (topic, key, version),
    UNIQUE (source, msg_id)
) STRICT;

CREATE TABLE comms_snapshot (
    topic TEXT NOT NULL,
    key BLOB NOT NULL,
    schema INTEGER NOT NULL,
    version INTEGER NOT NULL,
    state BLOB NOT NULL,
    created_at INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    PRIMARY KEY (topic, key)
) STRICT;

CREATE TABLE comms_projection (
    name TEXT PRIMARY KEY,
    live_revision INTEGER NOT NULL,
    highest_live INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE comms_projection_parked (
    name TEXT NOT NULL,
    revision INTEGER NOT NULL,
    event_id INTEGER NOT NULL,
    source TEXT NOT NULL,
    msg_id TEXT NOT NULL,
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'parked' CHECK (state IN ('parked', 'retry', 'skipped')),
    error_kind TEXT NOT NULL,
    error TEXT NOT NULL,
    parked_at INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    reason TEXT,
    skipped_at INTEGER,
    PRIMARY KEY (name, revision, event_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE comms_saga (
    saga TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    phase TEXT NOT NULL CHECK (phase IN ('running', 'compensating', 'held', 'completed', 'failed')),
    state TEXT NOT NULL,
    revision INTEGER NOT NULL,
    instance TEXT NOT NULL,
    headers BLOB NOT NULL,
    failures INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    started_at INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    updated_at INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    PRIMARY KEY (saga, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX comms_saga_open ON comms_saga (saga, version, phase, failures) WHERE phase IN ('running', 'compensating', 'held');
CREATE INDEX comms_saga_ended ON comms_saga (updated_at) WHERE phase IN ('completed', 'failed');

CREATE TABLE comms_saga_timer (
    saga TEXT NOT NULL,
    id TEXT NOT NULL,
    timer TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    PRIMARY KEY (saga, id, timer)
) STRICT, WITHOUT ROWID;
CREATE INDEX comms_saga_timer_due ON comms_saga_timer (due_at);

CREATE TABLE comms_saga_log (
    saga TEXT NOT NULL,
    id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    at INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    phase TEXT NOT NULL,
    state TEXT NOT NULL,
    entry TEXT NOT NULL,
    PRIMARY KEY (saga, id, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE comms_saga_early (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    saga TEXT NOT NULL,
    id TEXT NOT NULL,
    source TEXT NOT NULL,
    msg_id TEXT NOT NULL,
    topic TEXT NOT NULL,
    key BLOB,
    headers BLOB NOT NULL,
    payload BLOB,
    kept_at INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    UNIQUE (saga, id, source, msg_id)
) STRICT;
CREATE INDEX comms_saga_early_kept ON comms_saga_early (kept_at);
