//! The reference marketplace.
fn main() {}
