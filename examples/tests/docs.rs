//! The Markdown files: links lead somewhere, the book has every page, code is compiled, and the keys of a policy are complete.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use comms_core::resilience::{PolicyConfig, RateLimitConfig, WindowConfig};
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The Markdown files below `folder`, without those of built and hidden folders.
fn markdown_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            files.extend(markdown_files(&path));
        } else if name.ends_with(".md") {
            files.push(path);
        }
    }
    files
}

/// The lines of `text` outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    })
}

/// The targets of the links of a file, without those to other sites.
fn relative_links(text: &str) -> Vec<String> {
    let outside_code: String =
        prose(text).flat_map(|line| line.split('`').step_by(2).chain(["\n"])).collect();
    let targets = outside_code.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).map(str::to_owned).collect()
}

/// The anchors of the headings of a file, as the forges and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    prose(text).filter(|line| line.starts_with('#')).map(anchor).collect()
}

fn anchor(heading: &str) -> String {
    let title = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    title.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading() {
    let mut broken = Vec::new();
    for file in markdown_files(root()) {
        for link in relative_links(&fs::read_to_string(&file).unwrap()) {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() { file.clone() } else { file.parent().unwrap().join(path) };
            let has_anchor = || anchors(&fs::read_to_string(&target).unwrap()).contains(anchor);
            if !target.exists() || !(anchor.is_empty() || has_anchor()) {
                broken.push(format!("{}: {link}", file.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// mdBook copies `docs/` alone, so a link out of it would be broken in the book.
#[test]
fn pages_of_the_book_link_to_pages_of_the_book_only() {
    let docs = root().join("docs");
    for file in markdown_files(&docs) {
        for link in relative_links(&fs::read_to_string(&file).unwrap()) {
            let path = link.split('#').next().unwrap();
            let target = file.parent().unwrap().join(path).canonicalize().unwrap();
            assert!(target.starts_with(docs.canonicalize().unwrap()), "{}: {link}", file.display());
        }
    }
}

#[test]
fn the_summary_names_every_page_once() {
    let docs = root().join("docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    let named = relative_links(&summary);
    let pages: BTreeSet<_> = markdown_files(&docs)
        .iter()
        .map(|file| file.strip_prefix(&docs).unwrap().to_str().unwrap().to_owned())
        .filter(|page| page != "SUMMARY.md")
        .collect();
    assert_eq!(named.iter().cloned().collect::<BTreeSet<_>>(), pages);
    assert_eq!(named.len(), pages.len());
}

#[test]
fn every_page_with_rust_code_is_compiled() {
    let library = fs::read_to_string(root().join("examples/src/lib.rs")).unwrap();
    for file in markdown_files(root()) {
        let page = file.strip_prefix(root()).unwrap().to_str().unwrap();
        let has_code = fs::read_to_string(&file).unwrap().lines().any(|line| line.starts_with("```rust"));
        assert!(!has_code || library.contains(&format!("\"../../{page}\"")), "{page}");
    }
}

/// The block of TOML in the guide to resilience.
fn policy_toml() -> &'static str {
    let guide = include_str!("../../docs/guides/resilience.md");
    guide.split_once("```toml\n").and_then(|(_, rest)| rest.split_once("```")).unwrap().0
}

/// Every key with those above it: `retry.backoff.base`.
fn keys_below(prefix: &str, value: &Value) -> BTreeSet<String> {
    let entries = value.as_object().into_iter().flatten();
    entries
        .flat_map(|(name, value)| {
            let path = format!("{prefix}{name}");
            let mut keys = keys_below(&format!("{path}."), value);
            keys.insert(path);
            keys
        })
        .collect()
}

#[test]
fn the_guide_shows_a_policy_with_all_its_keys() {
    let config: PolicyConfig = toml::from_str(policy_toml()).unwrap();
    let (shown, all) =
        (toml::from_str::<Value>(policy_toml()).unwrap(), serde_json::to_value(&config).unwrap());
    assert_eq!(keys_below("", &shown), keys_below("", &all));
}

#[test]
fn the_guide_shows_the_defaults_of_a_policy_except_where_it_names_another() {
    let mut expected: PolicyConfig = toml::from_str("").unwrap();
    assert_eq!(expected, PolicyConfig::background());
    let (mut window, mut rate) = (WindowConfig::default(), RateLimitConfig::default());
    window.slow_call_duration = Some(Duration::from_millis(500));
    rate.burst = Some(rate.limit);
    expected.timeout = Some(Duration::from_secs(2));
    let breaker = expected.breaker.as_mut().unwrap();
    (breaker.window, breaker.max_open_duration) = (Some(window), Some(Duration::from_secs(600)));
    expected.rate_limit = Some(rate);
    let shown: PolicyConfig = toml::from_str(policy_toml()).unwrap();
    shown.validate().unwrap();
    assert_eq!(shown, expected);
}

#[test]
fn each_switch_that_the_guide_shows_works() {
    let config: PolicyConfig = toml::from_str(
        "retry = false\nbreaker = false\nbulkhead = false\nrate_limit = false\nmetrics = false\ntimeout = '1s'",
    )
    .unwrap();
    let mut expected = PolicyConfig::none();
    (expected.timeout, expected.attempt_timeout) =
        (Some(Duration::from_secs(1)), Some(Duration::from_secs(10)));
    assert_eq!(config, expected);
    let nested: PolicyConfig = toml::from_str(
        "retry = { budget = false, backoff = { jitter = 'full' } }\nbreaker = { window = { kind = { calls = 100 } } }",
    )
    .unwrap();
    nested.validate().unwrap();
    assert!(nested.retry.unwrap().budget.is_none() && nested.breaker.unwrap().window.is_some());
}
