//! Generates Rust code from the `.proto` files of the gRPC examples. The compiler is a Rust library (protox), so protoc
//! need not be installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    tonic_prost_build::configure()
        .compile_fds(protox::compile(["proto/payments.proto", "proto/feed.proto"], ["proto"])?)?;
    Ok(())
}
