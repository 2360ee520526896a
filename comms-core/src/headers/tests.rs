use super::*;
use crate::ErrorKind;
use proptest::prelude::*;

proptest! {
    #[test]
    fn decoding_returns_the_encoded_headers(list in prop::collection::vec((".{0,8}", prop::collection::vec(any::<u8>(), 0..20)), 0..6)) {
        let headers: Headers = list.iter().map(|(name, value)| (name, value)).collect();
        prop_assert_eq!(Headers::decode(headers.view().encoded()).unwrap(), headers.clone());
        let read: Vec<_> = headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
        prop_assert_eq!(&read, &list);
        prop_assert_eq!(headers.size(), list.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>());
    }

    #[test]
    fn bytes_of_another_format_are_an_internal_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        match HeadersRef::decode(&bytes) {
            Ok(headers) => prop_assert_eq!(headers.iter().count(), headers.len()),
            Err(error) => prop_assert_eq!(error.kind, ErrorKind::Internal),
        }
    }
}

#[test]
fn the_last_value_of_a_repeated_name_counts_and_insert_replaces_all() {
    let mut headers: Headers = [("a", "1"), ("b", "2"), ("a", "3")].into_iter().collect();
    assert_eq!((headers.text("a"), headers.len(), headers.size()), (Some("3"), 3, 6));
    headers.insert("a", "4");
    assert_eq!(headers.iter().collect::<Vec<_>>(), [("b", &b"2"[..]), ("a", b"4")]);
}

#[test]
fn inject_accepts_upper_case_names_and_refuses_names_with_spaces() {
    let mut headers = http::HeaderMap::new();
    headers.inject("X-Trace", b"1").unwrap();
    assert_eq!(headers.extract("x-trace"), Some(&b"1"[..]));
    assert_eq!(headers.inject("x trace", b"1").unwrap_err().kind, ErrorKind::Invalid);
}

#[test]
fn extract_many_visits_the_values_that_extract_each_visits() {
    fn visited(carrier: &impl Extract) -> Vec<(usize, &[u8])> {
        let mut values = Vec::new();
        carrier.extract_many(&["b", "absent", "a"], &mut |index, value| values.push((index, value)));
        values.sort_by_key(|(index, _)| *index);
        values
    }
    let list = [("a", "1"), ("b", "2"), ("a", "3"), ("ab", "4")];
    let expected: [(usize, &[u8]); 3] = [(0, b"2"), (2, b"1"), (2, b"3")];
    assert_eq!(visited(&list.into_iter().collect::<Headers>()), expected);
    let mut map = http::HeaderMap::new();
    for (name, value) in list {
        map.append(name, value.parse().unwrap());
    }
    assert_eq!(visited(&map), expected);
}
