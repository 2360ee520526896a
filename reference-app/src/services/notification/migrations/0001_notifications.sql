-- Common subset: the same file makes the tables on PostgreSQL and SQLite.
-- No uniqueness over (order_id, sequence): a notification made twice would show.
CREATE TABLE notifications (
    notification_id TEXT   NOT NULL PRIMARY KEY,
    user_id         TEXT   NOT NULL,
    order_id        TEXT   NOT NULL,
    sequence        BIGINT NOT NULL,
    status          TEXT   NOT NULL,
    body            TEXT   NOT NULL,
    created_at      BIGINT NOT NULL
);
CREATE INDEX notifications_by_user ON notifications (user_id, created_at);
CREATE INDEX notifications_by_order ON notifications (order_id, sequence);
