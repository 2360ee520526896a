//! Generates Rust code from the .proto files of the conformance suite.

use std::path::Path;

use prost::Message;

/// The folder of the .proto files. `scripts/conformance` sets it.
const PROTOS: &str = "COMMS_CONFORMANCE_PROTOS";
const PACKAGE: &str = "connectrpc/conformance/v1";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-env-changed={PROTOS}");
    let folder = std::env::var(PROTOS).map_err(|_| {
        format!("{PROTOS} is not set to the folder of the .proto files: run scripts/conformance")
    })?;
    let files = ["service.proto", "client_compat.proto", "server_compat.proto"]
        .map(|name| Path::new(&folder).join(PACKAGE).join(name));
    for file in &files {
        println!("cargo:rerun-if-changed={}", file.display());
    }
    let descriptors = protox::compile(&files, [&folder])?;
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(Path::new(&out).join("descriptors.bin"), descriptors.encode_to_vec())?;
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names().type_name_domain(["."], "type.googleapis.com");
    tonic_prost_build::configure().bytes(".").compile_fds_with_config(descriptors, config)?;
    Ok(())
}
