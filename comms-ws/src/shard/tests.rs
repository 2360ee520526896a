//! The window against a model.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::Window;
use crate::{
    backplane::Position,
    message::Message,
    meters::Meters,
    topic::{Topic, TopicOptions},
};

#[derive(Debug, Clone)]
enum Op {
    /// Events, of which the window admits what fits.
    Send(usize),
    /// Messages that do not pass the filter.
    Pass(u64),
    /// An acknowledgement so far before the position reached, or after it, in this epoch or the one before.
    Acknowledge {
        back: i64,
        is_old: bool,
    },
    NewEpoch,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1..5_usize).prop_map(Op::Send),
        1 => (1..5_u64).prop_map(Op::Pass),
        4 => (-2..8_i64, any::<bool>()).prop_map(|(back, is_old)| Op::Acknowledge { back, is_old: is_old && back % 3 == 0 }),
        1 => Just(Op::NewEpoch),
    ]
}

/// What a window is: the offsets that are open, and the last position that was acknowledged.
struct Model {
    at: Position,
    acknowledged: u64,
    open: Vec<u64>,
}

fn messages(after: Position, count: usize) -> Vec<Arc<Message>> {
    let topic = Arc::new(Topic { name: "t".into(), options: TopicOptions::default() });
    let meters = Arc::new(Meters::new());
    let body = br#"{"id":"1","event":"e","data":{}}"#;
    let at = |n| Position { offset: after.offset + n, ..after };
    (1..=count as u64)
        .map(|n| Arc::new(Message::event(topic.clone(), Some(at(n)), body, &meters).unwrap()))
        .collect()
}

proptest! {
    #[test]
    fn a_window_admits_as_many_events_as_are_not_open(size in 1..6_usize, ops in prop::collection::vec(op(), 1..60)) {
        let window = Window::new(size);
        let mut model = Model { at: Position { epoch: 1, offset: 10 }, acknowledged: 10, open: Vec::new() };
        window.begin(Some(model.at));
        for op in ops {
            match op {
                Op::Send(count) => {
                    let admitted = window.admit(&messages(model.at, count));
                    prop_assert_eq!(admitted, count.min(size - model.open.len()));
                    model.open.extend((1..=admitted as u64).map(|n| model.at.offset + n));
                    model.at.offset += admitted as u64;
                }
                Op::Pass(count) => {
                    model.at.offset += count;
                    window.reach(model.at);
                }
                Op::Acknowledge { back, is_old } => {
                    let offset = model.at.offset.saturating_add_signed(-back);
                    let position = Position { epoch: model.at.epoch - u64::from(is_old), offset };
                    let counts = !is_old && back >= 0 && offset > model.acknowledged;
                    prop_assert_eq!(window.acknowledge(position), counts);
                    if counts {
                        model.acknowledged = offset;
                        model.open.retain(|open| *open > offset);
                    }
                }
                Op::NewEpoch => {
                    model = Model { at: Position { epoch: model.at.epoch + 1, offset: 0 }, acknowledged: 0, open: Vec::new() };
                    window.reach(model.at);
                }
            }
            prop_assert_eq!(window.room(), size - model.open.len());
            prop_assert_eq!(window.reached(), Some(model.at));
        }
    }
}

#[test]
fn a_frame_of_the_hub_takes_no_room() {
    let window = Window::new(1);
    let at = Position { epoch: 1, offset: 1 };
    window.begin(Some(at));
    let topic = Arc::new(Topic { name: "t".into(), options: TopicOptions::default() });
    let notice = Message::control(topic, Some(at), Bytes::from_static(b"{}"), &Arc::new(Meters::new()));
    let mut all = messages(at, 1);
    all.insert(0, Arc::new(notice));
    assert_eq!((window.admit(&all), window.room()), (2, 0));
    assert_eq!(window.admit(&all), 1, "the event does not fit");
}
