-- Common subset: the same file makes the tables on PostgreSQL and SQLite.
-- stock: the pieces that the seller has offered. available: those of them that no order holds.
CREATE TABLE ads (
    ad_id       TEXT   NOT NULL PRIMARY KEY,
    seller_id   TEXT   NOT NULL,
    title       TEXT   NOT NULL,
    description TEXT   NOT NULL,
    price_minor BIGINT NOT NULL,
    currency    TEXT   NOT NULL,
    stock       BIGINT NOT NULL,
    available   BIGINT NOT NULL CHECK (available >= 0 AND available <= stock),
    created_at  BIGINT NOT NULL
);
CREATE INDEX ads_by_age ON ads (created_at, ad_id);
-- One row an order. The row is the state machine of the order's commands. A row without an ad was released before a
-- reservation came.
CREATE TABLE reservations (
    order_id   TEXT   NOT NULL PRIMARY KEY,
    ad_id      TEXT,
    quantity   BIGINT NOT NULL,
    status     TEXT   NOT NULL,
    reason     TEXT,
    sequence   BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX reservations_due ON reservations (expires_at, order_id) WHERE status = 'RESERVED';
