//! Compiles the `.proto` file of the gRPC example with a Rust library: there is no protoc to install.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    tonic_prost_build::configure().compile_fds(protox::compile(["proto/payments.proto"], ["proto"])?)?;
    Ok(())
}
