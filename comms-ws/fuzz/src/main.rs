//! The entry point of every fuzz target. The name of the binary selects the target.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| comms_ws_fuzz::run(env!("CARGO_BIN_NAME"), data));
