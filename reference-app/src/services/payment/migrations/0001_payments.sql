-- Common subset: the same file makes the tables on PostgreSQL and SQLite.
CREATE TABLE payments (
    payment_id   TEXT   NOT NULL PRIMARY KEY,
    order_id     TEXT   NOT NULL UNIQUE,
    buyer_id     TEXT   NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency     TEXT   NOT NULL,
    status       TEXT   NOT NULL,
    sequence     BIGINT NOT NULL,
    reason       TEXT,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL
);
-- Money that has moved: one row a charge. No uniqueness beyond the key, so that a second charge would show.
CREATE TABLE charges (
    charge_id    TEXT   NOT NULL PRIMARY KEY,
    payment_id   TEXT   NOT NULL,
    order_id     TEXT   NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency     TEXT   NOT NULL,
    charged_at   BIGINT NOT NULL
);
CREATE INDEX charges_by_order ON charges (order_id);
-- Money that was given back: one row a refund. No uniqueness beyond the key, for the same reason.
CREATE TABLE refunds (
    refund_id    TEXT   NOT NULL PRIMARY KEY,
    payment_id   TEXT   NOT NULL,
    order_id     TEXT   NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency     TEXT   NOT NULL,
    refunded_at  BIGINT NOT NULL
);
CREATE INDEX refunds_by_order ON refunds (order_id);
