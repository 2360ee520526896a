//! Generates Rust code from every `.proto` file under `src/contracts`. The compiler is a Rust library (protox), so protoc
//! need not be installed.

use std::{fs, path::PathBuf};

const CONTRACTS: &str = "src/contracts";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed={CONTRACTS}");
    let mut files = Vec::new();
    for owner in fs::read_dir(CONTRACTS)? {
        let owner = owner?.path();
        if owner.is_dir() {
            files.extend(
                fs::read_dir(owner)?
                    .map(|entry| entry.map(|e| e.path()))
                    .collect::<Result<Vec<PathBuf>, _>>()?,
            );
        }
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "proto"));
    files.sort();
    tonic_prost_build::configure().compile_fds(protox::compile(files, [CONTRACTS])?)?;
    Ok(())
}
