//! Tests of the local consumer.
