use super::{query::MAX_QUERY, *};
use crate::{
    Filter,
    client::{cursor, item::MissedReason as Why},
};
use serde::Deserialize;
use serde_json::{Value, json};

/// A case that the browser's client runs too (`web/test/topics.mjs`).
#[derive(Deserialize)]
struct Case {
    name: String,
    #[serde(default)]
    wanted: Vec<Wanted>,
    #[serde(default)]
    cursor: String,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Wanted {
    topic: String,
    window: Option<usize>,
    events: Option<Vec<String>>,
    keys: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Step {
    query: Option<String>,
    receive: Option<Value>,
    subscribe: Option<Wanted>,
    unsubscribe: Option<String>,
    #[serde(default)]
    resubscribe: bool,
    #[serde(default)]
    items: Vec<String>,
    #[serde(default)]
    sent: Vec<Value>,
}

impl From<Wanted> for Subscription {
    fn from(wanted: Wanted) -> Self {
        let mut filter = Filter::default();
        filter.events = wanted.events.unwrap_or_default();
        filter.keys = wanted.keys.unwrap_or_default();
        let subscription = Self::new(wanted.topic).filter(filter);
        match wanted.window {
            Some(window) => subscription.window(window),
            None => subscription,
        }
    }
}

fn text(item: &Item) -> String {
    match item {
        Item::Event(event) => {
            let offset = event.offset.map_or("-".into(), |offset| offset.to_string());
            format!("event {} {offset}", event.topic)
        }
        Item::Missed { topic, reason } => {
            let reason = match reason {
                Why::Slow => "slow",
                Why::Epoch => "epoch",
                Why::History => "history",
                Why::NoHistory => "no_history",
                Why::Gap => "gap",
                Why::Other => "other",
            };
            format!("missed {topic} {reason}")
        }
        Item::Recovered { topic } => format!("recovered {topic}"),
        Item::Subscribed { topic } => format!("subscribed {topic}"),
        Item::Unsubscribed { topic, reason } => {
            let reason = reason.as_deref().map(|reason| format!(" {reason}"));
            format!("unsubscribed {topic}{}", reason.unwrap_or_default())
        }
        Item::Refused { code, detail } => format!("refused {code} {detail}"),
        other => format!("{other:?}"),
    }
}

impl State {
    /// Takes a frame as the driver does. Returns the frames to send.
    fn receive(&mut self, frame: &Value, out: &mut VecDeque<Entry>) -> Result<Vec<String>, Error> {
        let frame = frame.to_string();
        match ServerFrame::parse(&frame)? {
            ServerFrame::Welcome(welcome) => self.welcome(welcome, out),
            other => self.take(other, frame.len(), out).map(|()| Vec::new()),
        }
    }

    fn step(&mut self, step: Step, place: &str) {
        let mut out = VecDeque::new();
        let mut sent = Vec::new();
        if let Some(query) = step.query {
            assert_eq!(self.query(), query, "{place}");
        }
        if let Some(frame) = step.receive {
            sent = self.receive(&frame, &mut out).unwrap();
        }
        sent.extend(step.subscribe.map(|wanted| self.subscribe(wanted.into())));
        if step.resubscribe {
            sent.extend(self.resubscribe());
        }
        sent.extend(step.unsubscribe.map(|topic| self.unsubscribe(&topic)));
        let mut sent: Vec<Value> = sent.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        sent.sort_by_key(Value::to_string);
        let items: Vec<String> = out.iter().map(|entry| text(&entry.item)).collect();
        assert_eq!((items, sent), (step.items, step.sent), "{place}");
    }
}

#[test]
fn each_frame_has_the_effect_that_the_browser_client_gives_it() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../vectors.json")).unwrap();
    for case in cases {
        let places = cursor::read(&case.cursor).unwrap().into_iter().collect();
        let mut state = State::new(places, case.wanted.into_iter().map(Into::into).collect());
        for (n, step) in case.steps.into_iter().enumerate() {
            state.step(step, &format!("{}, step {n}", case.name));
        }
    }
}

#[test]
fn topics_that_make_the_query_too_long_are_subscribed_by_frames() {
    let topics: Vec<String> = (0..100).map(|n| format!("{n:03}{}", "x".repeat(97))).collect();
    let mut state = State::new(HashMap::new(), topics.iter().map(Into::into).collect());
    let query = state.query();
    assert!(query.len() <= MAX_QUERY, "{}", query.len());
    let asked = query.matches("topic=").count();
    let given: Vec<Value> = topics[..asked].iter().map(|topic| json!({ "topic": topic })).collect();
    let welcome = json!({"type": "welcome", "topics": given});
    let frames = state.receive(&welcome, &mut VecDeque::new()).unwrap();
    assert_eq!(asked + frames.len(), 100);
    assert!(asked > 30, "{asked}");
}

/// The server has not seen the tokens that do not fit: it joins its own topics without them, and the client asks for others.
#[test]
fn tokens_that_make_the_query_too_long_are_sent_by_frames() {
    let name = |n: usize| format!("{n:03}{}", "x".repeat(197));
    let places = (0..100).map(|n| {
        let token = Token::parse(&format!("{}:1:5:m", name(n))).unwrap();
        (name(n), Place::at(Some(token)))
    });
    let mut state = State::new(places.collect(), Vec::new());
    let query = state.query();
    assert!(query.len() <= 6 * 1024 + 10 && query.len() > 5 * 1024, "{}", query.len());
    let asked = query.matches(":1:5:m").count();
    // A topic that the application leaves meanwhile is not subscribed again.
    state.unsubscribe(&name(98));
    // The server subscribes the last topic by itself.
    let given: Vec<Value> = (0..asked)
        .map(|n| json!({"topic": name(n), "cursor": format!("{}:1:5:m", name(n)), "recovered": true}))
        .chain([json!({"topic": name(99), "cursor": format!("{}:1:9:m", name(99))})])
        .collect();
    let mut out = VecDeque::new();
    let frames = state.receive(&json!({"type": "welcome", "topics": given}), &mut out).unwrap();
    assert_eq!(asked + frames.len(), 98);
    assert!(frames.iter().all(|frame| frame.contains(":1:5:m") && frame.len() < 4 * 1024));
    let items: Vec<String> = out.iter().map(|entry| text(&entry.item)).collect();
    assert_eq!(items.iter().filter(|item| item.starts_with("recovered")).count(), asked);
    assert_eq!(items.last().unwrap(), &format!("missed {} history", name(99)));
    assert_eq!(items.len(), asked + 1, "no topic is given up");
}

/// A stored cursor with an offset that the topic has not reached must not make the client discard the events up to it.
#[test]
fn a_position_that_the_server_has_not_recovered_is_that_of_the_server() {
    for window in [None, Some(5)] {
        let places = cursor::read("a:1:5:m~900").unwrap().into_iter().collect();
        let wanted = Subscription::new("a");
        let wanted = window.map_or(wanted.clone(), |window| wanted.window(window));
        let mut state = State::new(places, vec![wanted]);
        state.query();
        let given = json!({"topic": "a", "cursor": "a:1:7:m", "recovered": false, "window": window});
        let mut frames = vec![json!({"type": "welcome", "topics": [given.clone()]})];
        if window.is_some() {
            let mut subscribed = given;
            subscribed["type"] = "subscribed".into();
            frames = vec![json!({"type": "welcome", "topics": []}), subscribed];
        }
        frames.push(json!({"type": "event", "topic": "a", "offset": 8, "id": "i", "event": "e", "data": 1}));
        let mut out = VecDeque::new();
        frames.iter().for_each(|frame| drop(state.receive(frame, &mut out).unwrap()));
        let items: Vec<String> = out.iter().map(|entry| text(&entry.item)).collect();
        assert_eq!(items, ["missed a history", "event a 8"], "{window:?}");
        assert!(state.resubscribe().is_empty(), "{window:?}");
    }
}

#[test]
fn malformed_frames_are_errors() {
    let mut state = State::new(HashMap::new(), vec!["a".into()]);
    for frame in [
        json!([]),
        json!({}),
        json!({"type": 1}),
        json!({"type": "event", "topic": "a", "offset": -1, "event": "e", "data": 1}),
        json!({"type": "event", "topic": "a", "event": "e"}),
        json!({"type": "subscribed"}),
        json!({"type": "subscribed", "topic": "a", "cursor": "a"}),
        json!({"type": "missed", "topic": "a", "cursor": "a:1:2:m~3"}),
        json!({"type": "welcome", "topics": [{"topic": "a", "cursor": "?"}]}),
        json!({"type": "drain", "retry_ms": "soon"}),
    ] {
        assert!(state.receive(&frame, &mut VecDeque::new()).is_err(), "{frame}");
    }
    let unknown = json!({"type": "later", "topic": "a"});
    assert!(state.receive(&unknown, &mut VecDeque::new()).is_ok());
}
