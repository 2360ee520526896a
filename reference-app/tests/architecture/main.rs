//! The rules of `docs/architecture.md` that the compiler does not check: which crate may depend on which, one TLS
//! provider, no `unsafe` code, no service named outside of its folder, and dependencies between modules in one
//! direction.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

mod modules;
mod siblings;

const LIBRARIES: [&str; 5] = ["comms-core", "comms-outbox", "comms-kafka", "comms-grpc", "comms-ws"];

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(args).current_dir(workspace()).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn metadata(args: &[&str]) -> Value {
    let args = [&["metadata", "--format-version", "1", "--locked", "--offline"], args].concat();
    serde_json::from_str(&cargo(&args)).unwrap()
}

/// Every library crate depends on comms-core and on no other library of the workspace. Only reference-app and examples
/// combine them.
#[test]
fn a_library_depends_on_comms_core_and_on_no_sibling() {
    let metadata = metadata(&["--no-deps"]);
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let siblings: Vec<&str> = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
            .map(|dependency| dependency["name"].as_str().unwrap())
            .filter(|name| name.starts_with("comms-"))
            .collect();
        match name {
            "comms-core" => assert!(siblings.is_empty(), "{name} depends on {siblings:?}"),
            "reference-app" | "examples" => {}
            _ => assert_eq!(siblings, ["comms-core"], "{name}"),
        }
    }
}

/// An application that uses one crate does not compile the clients of the others: no SQL with Kafka, no Kafka with
/// gRPC.
#[test]
fn a_library_pulls_in_no_client_of_another_transport() {
    let table = [
        ("comms-core", &["sqlx", "rdkafka", "tonic", "axum", "hyper"][..]),
        ("comms-outbox", &["rdkafka", "tonic", "axum"]),
        ("comms-kafka", &["sqlx", "tonic", "axum", "hyper"]),
        ("comms-grpc", &["sqlx", "rdkafka"]),
        ("comms-ws", &["sqlx", "rdkafka", "tonic"]),
    ];
    for (package, banned) in table {
        let tree = cargo(&[
            "tree",
            "-p",
            package,
            "--all-features",
            "-e",
            "normal",
            "--prefix",
            "none",
            "--offline",
        ]);
        for line in tree.lines() {
            let name = line.split(' ').next().unwrap_or_default();
            assert!(!banned.contains(&name), "{package} pulls in {line}");
        }
    }
}

/// rustls panics at run time if two providers are compiled in. The workspace uses aws-lc-rs.
#[test]
fn there_is_one_tls_provider() {
    let lock = fs::read_to_string(workspace().join("Cargo.lock")).unwrap();
    assert!(
        lock.contains("name = \"aws-lc-rs\""),
        "Cargo.lock has no aws-lc-rs: this test does not find packages"
    );
    // rustls-webpki names ring in a weak feature, so that the lock has it although nothing builds it.
    let users: Vec<_> = lock
        .split("[[package]]")
        .filter(|package| package.contains("\n \"ring\",\n"))
        .filter_map(|package| package.split('"').nth(1))
        .collect();
    assert_eq!(users, ["rustls-webpki"], "a package uses ring: cargo tree -i ring --all-features");
}

/// The workspace denies `unsafe_code`, and no module allows it again.
#[test]
fn no_module_allows_unsafe_code() {
    let mut found = Vec::new();
    let mut folders = vec![workspace().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(".rs") && !path.ends_with(file!()) {
                let text = fs::read_to_string(&path).unwrap();
                if text.contains("allow(unsafe_code") || text.contains("expect(unsafe_code") {
                    found.push(path);
                }
            }
        }
    }
    assert!(found.is_empty(), "these files allow unsafe code: {found:?}");
}

/// A service is its folder, its contract and one line in `services/mod.rs`. No other file of the program names it.
#[test]
fn no_file_outside_its_folder_names_a_service() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let services = fs::read_dir(source.join("services")).unwrap().map(|entry| entry.unwrap().path());
    let names: Vec<_> = services
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert!(names.contains(&"payment".to_owned()), "{names:?}");
    let mut files = vec![source.join("../build.rs"), source.join("platform/config/defaults.toml")];
    files.extend(["main.rs", "lib.rs"].map(|file| source.join(file)));
    for folder in ["platform", "system"] {
        rust_files(&source.join(folder), &mut files);
    }
    let is_test =
        |file: &Path| file.ends_with("tests.rs") || file.parent().is_some_and(|dir| dir.ends_with("tests"));
    for file in files.iter().filter(|file| !is_test(file)) {
        let text = fs::read_to_string(file).unwrap();
        let program = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (line, name) in program.lines().flat_map(|line| names.iter().map(move |name| (line, name))) {
            let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-');
            // "order" alone is also a word of comments: "in order".
            let named = name != "order" && words.clone().any(|word| word == name);
            let is_whole = |at: usize| !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            let is_path = line.match_indices(&format!("{name}::")).any(|(at, _)| is_whole(at));
            let quoted = line.contains(&format!("\"{name}\"")) || is_path;
            let full = words
                .clone()
                .any(|word| word == format!("{name}-service") || word == format!("{name}_service"));
            assert!(!named && !quoted && !full, "{} names the service {name}: {line}", file.display());
        }
    }
}

/// `docs/guarantees.md` names for each guarantee the tests that fail if it does not hold. Those tests exist.
#[test]
fn every_test_that_the_guarantees_name_exists() {
    let mut sources = String::new();
    for package in LIBRARIES.into_iter().chain(["reference-app"]) {
        for folder in ["src", "tests"] {
            append_sources(&workspace().join(package).join(folder), &mut sources);
        }
    }
    let text = fs::read_to_string(workspace().join("docs/guarantees.md")).unwrap();
    let named = text.split('`').skip(1).step_by(2).filter(|name| is_test_name(name));
    let missing: Vec<_> = named
        .filter(|name| !sources.contains(&format!("fn {}(", name.rsplit("::").next().unwrap_or(name))))
        .filter(|name| !sources.contains(&format!("fn {}<", name.rsplit("::").next().unwrap_or(name))))
        .collect();
    assert!(missing.is_empty(), "docs/guarantees.md names tests that do not exist: {missing:#?}");
}

/// `comms_core::telemetry` describes every metric whose name is one of its constants. A literal name has no
/// description.
#[test]
fn every_metric_is_recorded_by_a_constant_of_the_telemetry() {
    let mut sources = String::new();
    for package in LIBRARIES.into_iter().chain(["reference-app"]) {
        append_sources(&workspace().join(package).join("src"), &mut sources);
    }
    let mut recorded = 0;
    for name in ["counter!(", "gauge!(", "histogram!("] {
        for after in sources.split(name).skip(1) {
            let first = after.split([',', ')']).next().unwrap_or_default().trim();
            let constant =
                ["telemetry::", "names::", "self.metric", "self.histogram", "metric.name", "*name"]
                    .iter()
                    .any(|it| first.starts_with(it));
            assert!(constant, "{name}{first}: use a constant of comms_core::telemetry");
            recorded += 1;
        }
    }
    assert!(recorded > 20, "only {recorded} metrics found: this test does not find them");
}

/// Whether `name` can be the path of a test: the last part has at least four words, and it is not the name of a metric.
fn is_test_name(name: &str) -> bool {
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | ':'));
    plain
        && !name.starts_with("comms_")
        && name.rsplit("::").next().is_some_and(|last| last.matches('_').count() >= 3)
}

fn append_sources(folder: &Path, sources: &mut String) {
    let mut files = Vec::new();
    rust_files(folder, &mut files);
    files.iter().for_each(|file| sources.push_str(&fs::read_to_string(file).unwrap()));
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
