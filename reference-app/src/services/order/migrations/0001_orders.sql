-- Common subset: the same file makes the tables on PostgreSQL and SQLite.
-- The read model of lists. The orders are their events, in comms_event.
CREATE TABLE orders (
    revision    BIGINT NOT NULL,
    order_id    TEXT   NOT NULL,
    buyer_id    TEXT   NOT NULL,
    ad_id       TEXT   NOT NULL,
    quantity    BIGINT NOT NULL,
    price_minor BIGINT NOT NULL,
    currency    TEXT   NOT NULL,
    status      TEXT   NOT NULL,
    sequence    BIGINT NOT NULL,
    payment_id  TEXT,
    reason      TEXT,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    PRIMARY KEY (revision, order_id)
);
-- A list of a buyer is read by order id: a UUIDv7 sorts by the time at which it was made.
CREATE INDEX orders_by_buyer ON orders (revision, buyer_id, order_id);
