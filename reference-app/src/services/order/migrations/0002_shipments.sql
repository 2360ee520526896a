-- The shipments of the stand-in for a courier (`[order.shipping]`).
CREATE TABLE shipments (
    order_id   TEXT   NOT NULL PRIMARY KEY,
    status     TEXT   NOT NULL,
    sequence   BIGINT NOT NULL,
    reason     TEXT,
    due_at     BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX shipments_due ON shipments (due_at, order_id) WHERE status = 'ACCEPTED';
