//! What a request says about the topics of its session, and where its client resumes.

use http::request::Parts;

use crate::cursor;

/// What a request says about the topics of its session.
pub(super) struct Resume {
    pub(super) topics: Vec<String>,
    pub(super) cursor: Option<String>,
}

impl Resume {
    /// Reads the parameters `topic` and `cursor`, and the header `Last-Event-ID`, which is newer than the cursor of the
    /// address.
    pub(super) fn of(parts: &Parts) -> Self {
        let (mut topics, mut cursor) = (Vec::new(), None);
        for (name, value) in form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
            match &*name {
                "topic" => topics.push(value.into_owned()),
                "cursor" => cursor = Some(value.into_owned()),
                _ => {}
            }
        }
        let last = parts.headers.get("last-event-id").and_then(|value| value.to_str().ok());
        let Some(last) = last.filter(|id| !id.is_empty()) else { return Self { topics, cursor } };
        // The id may have no room for all topics. The stream keeps those that only its first cursor has named.
        if last.ends_with(cursor::LEFT_OUT) {
            topics.extend(cursor.iter().flat_map(|cursor| cursor::topics(cursor)));
        }
        Self { topics, cursor: Some(last.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn the_topics_and_the_cursor_are_read_from_the_request() {
        let parts = |uri: &str, last: Option<&str>| {
            let mut request = Request::get(uri);
            if let Some(last) = last {
                request = request.header("last-event-id", last);
            }
            let Resume { topics, cursor } = Resume::of(&request.body(()).unwrap().into_parts().0);
            (topics, cursor)
        };
        assert_eq!(parts("/v1/events", None), (vec![], None));
        let (topics, cursor) = parts("/v1/events?topic=a%2Fb&topic=c&cursor=x%3A1", None);
        assert_eq!((topics, cursor.as_deref()), (vec!["a/b".to_owned(), "c".to_owned()], Some("x:1")));
        assert_eq!(parts("/?cursor=x", Some("y")).1.as_deref(), Some("y"), "the header is newer");
        let (topics, cursor) = parts("/?cursor=a:1:2:m,b%253A:1:2:m", Some("a:1:3:m,*"));
        assert_eq!((topics, cursor.as_deref()), (vec!["a".into(), "b:".into()], Some("a:1:3:m,*")));
        assert_eq!(parts("/?cursor=x", Some("")).1.as_deref(), Some("x"));
    }
}
