-- Common subset: the same file makes the tables on PostgreSQL and SQLite.
-- The read models. Each row carries the revision of the projection that wrote it; times are seconds since 1970, in UTC.
CREATE TABLE orders (
    revision     BIGINT NOT NULL,
    order_id     TEXT   NOT NULL,
    sequence     BIGINT NOT NULL,
    status       TEXT   NOT NULL,
    created_hour BIGINT NOT NULL,
    payment      TEXT   NOT NULL,
    PRIMARY KEY (revision, order_id)
);
CREATE TABLE hours (
    revision    BIGINT NOT NULL,
    hour        BIGINT NOT NULL,
    status      TEXT   NOT NULL,
    orders      BIGINT NOT NULL,
    transitions BIGINT NOT NULL,
    PRIMARY KEY (revision, hour, status)
);
CREATE TABLE revenue (
    revision BIGINT NOT NULL,
    day      BIGINT NOT NULL,
    currency TEXT   NOT NULL,
    minor    BIGINT NOT NULL,
    paid     BIGINT NOT NULL,
    refunded BIGINT NOT NULL,
    PRIMARY KEY (revision, day, currency)
);
-- When the last applied event was stored, in milliseconds since 1970. A revision without a row here has no other rows.
CREATE TABLE applied (
    revision    BIGINT NOT NULL PRIMARY KEY,
    recorded_at BIGINT NOT NULL
);
