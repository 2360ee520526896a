//! Generates Rust code from every `.proto` file under `src/contracts`. The compiler is a Rust library (protox), so protoc
//! need not be installed.

use std::{env, error::Error, fs, path::PathBuf};

const CONTRACTS: &str = "src/contracts";

fn main() -> Result<(), Box<dyn Error>> {
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
    let contracts = protox::compile(files, [CONTRACTS])?;

    // The list of the methods whose `idempotency_level` is set, as a Rust expression.
    let mut idempotent = Vec::new();
    for file in &contracts.file {
        for service in &file.service {
            let methods = service.method.iter();
            let methods = methods.filter(|method| {
                method
                    .options
                    .as_ref()
                    .is_some_and(|options| options.idempotency_level.is_some_and(|l| l != 0))
            });
            let path = |method: &str| format!("/{}.{}/{method}", file.package(), service.name());
            idempotent.extend(methods.map(|method| path(method.name())));
        }
    }
    let list = PathBuf::from(env::var("OUT_DIR")?).join("idempotent_methods.rs");
    fs::write(list, format!("&{idempotent:?}"))?;

    tonic_prost_build::configure().compile_fds(contracts)?;
    Ok(())
}
