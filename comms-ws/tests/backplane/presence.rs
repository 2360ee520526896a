//! The presence of principals.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{Node, Nodes};

const MINUTE: Duration = Duration::from_secs(60);

pub(super) async fn all(nodes: &Nodes) {
    a_principal_is_present_while_a_node_has_it(nodes).await;
    what_is_not_reported_again_expires(nodes).await;
    large_topics_are_read_in_part(nodes).await;
    any_text_is_a_principal(nodes).await;
}

async fn report(node: &Node, topic: &str, id: u64, principals: &[&str], lifetime: Duration) {
    let principals: Vec<Arc<str>> = principals.iter().map(|principal| (*principal).into()).collect();
    node.backplane.set_present(topic, id, &principals, lifetime).await.unwrap();
}

/// Returns the principals that are present, in order. Panics if a principal is listed twice.
async fn present(node: &Node, topic: &str, max: usize) -> Vec<String> {
    let mut present = node.backplane.present(topic, max).await.unwrap();
    present.sort();
    assert_eq!(present.iter().collect::<BTreeSet<_>>().len(), present.len());
    present
}

async fn a_principal_is_present_while_a_node_has_it(Nodes { a, b, .. }: &Nodes) {
    assert!(present(a, "presence", 10).await.is_empty());
    report(a, "presence", 1, &["ann", "ben"], MINUTE).await;
    report(b, "presence", 2, &["ben", "cem"], MINUTE).await;
    for node in [a, b] {
        assert_eq!(present(node, "presence", 10).await, ["ann", "ben", "cem"]);
    }
    assert!(present(a, "presence of others", 10).await.is_empty());
    report(a, "presence", 1, &["ben", "unknown"], Duration::ZERO).await;
    assert_eq!(present(a, "presence", 10).await, ["ann", "ben", "cem"], "the other node has it");
    report(b, "presence", 2, &["ben", "cem"], Duration::ZERO).await;
    assert_eq!(present(b, "presence", 10).await, ["ann"]);
    report(a, "presence", 1, &["ann"], Duration::ZERO).await;
    assert!(present(a, "presence", 10).await.is_empty());
}

async fn what_is_not_reported_again_expires(Nodes { a, b, pass, .. }: &Nodes) {
    let lifetime = Duration::from_secs(2);
    report(a, "ends", 1, &["ann", "ben"], lifetime).await;
    report(b, "ends", 2, &["cem"], lifetime / 2).await;
    report(b, "ends", 2, &["dan"], MINUTE).await;
    report(b, "ends alone", 2, &["eve"], lifetime / 2).await;
    pass(Duration::from_millis(1_100)).await;
    assert_eq!(present(a, "ends", 10).await, ["ann", "ben", "dan"]);
    assert!(present(a, "ends alone", 10).await.is_empty());
    report(a, "ends", 1, &["ann"], lifetime).await;
    pass(Duration::from_millis(1_100)).await;
    assert_eq!(present(b, "ends", 10).await, ["ann", "dan"], "a report extends the lifetime");
}

async fn large_topics_are_read_in_part(Nodes { a, b, .. }: &Nodes) {
    let names: Vec<String> = (0..3_500).map(|n| format!("user-{n:05}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for node in 1..=2 {
        report(a, "large", node, &names, MINUTE).await;
    }
    assert_eq!(present(b, "large", usize::MAX).await, names);
    for max in [0, 1, 1_000, 1_001, 3_499, 3_500] {
        let part = present(b, "large", max).await;
        assert_eq!(part.len(), max);
        assert!(part.iter().all(|name| names.contains(&&**name)));
    }
}

async fn any_text_is_a_principal(Nodes { a, b, .. }: &Nodes) {
    let names = ["", " ", "\0\r\n", "{a}:b", "ключ ☃"];
    report(a, "}{ any", u64::MAX, &names, MINUTE).await;
    report(b, "}{ any", 0, &names, MINUTE).await;
    let mut expected = names.to_vec();
    expected.sort_unstable();
    assert_eq!(present(b, "}{ any", 10).await, expected);
}
