//! The entry of every fuzz target: the binary's name says which.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| comms_core_fuzz::run(env!("CARGO_BIN_NAME"), data));
