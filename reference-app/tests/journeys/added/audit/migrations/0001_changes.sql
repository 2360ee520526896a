CREATE TABLE changes (
    order_id TEXT   NOT NULL,
    sequence BIGINT NOT NULL,
    PRIMARY KEY (order_id, sequence)
);
