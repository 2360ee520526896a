//! A check of the metrics that Prometheus scrapes.

use std::collections::BTreeMap;

/// Checks that every metric family of `scrape` has HELP, TYPE and a name by the conventions of Prometheus, as
/// `promtool check metrics` does.
pub(crate) fn check_conventions(scrape: &str) {
    let (mut help, mut types) = (BTreeMap::new(), BTreeMap::new());
    for line in scrape.lines() {
        if let Some((name, text)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            assert!(help.insert(name, text).is_none() && !text.is_empty(), "{line}");
        }
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            assert!(types.insert(name, kind).is_none(), "{line}");
        }
    }
    for line in scrape.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let parts = ["_bucket", "_sum", "_count"];
        let histogram = parts.iter().find_map(|part| name.strip_suffix(part));
        let family = histogram.filter(|family| types.contains_key(family)).unwrap_or(name);
        let kind = types.get(family).unwrap_or_else(|| panic!("{family} has no TYPE line"));
        assert!(help.contains_key(family), "{family} has no HELP line");
        assert_eq!(family.ends_with("_total"), *kind == "counter", "{family} is a {kind}");
        assert_eq!(family.ends_with("_duration_seconds"), *kind == "histogram", "{family} is a {kind}");
        for abbreviated in ["_ms", "_millis", "_milliseconds", "_minutes", "_kb", "_kilobytes", "_percent"] {
            assert!(!family.contains(abbreviated), "{family} is not in a base unit");
        }
    }
}
