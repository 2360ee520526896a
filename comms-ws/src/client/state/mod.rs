//! The topics of the client: what the application wants, where the client stands, and what each frame changes. No
//! input or output.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use comms_core::Error;

use super::{
    cursor::{Place, Token},
    frame::{ClientFrame, EventFrame, ServerFrame, TopicFrame, Welcome},
    item::{Item, MissedReason},
    queue::Entry,
    subscription::Subscription,
};
use crate::session_topic;

#[derive(Default)]
pub(super) struct State {
    places: HashMap<String, Place>,
    wanted: BTreeMap<String, Subscription>,
    /// The topics that the server subscribes at the start of a connection: its own, and those of the query.
    granted: HashSet<String>,
    /// The granted topics that the application does not want.
    unwanted: HashSet<String>,
    /// The topics of the last query. The server answers each in `welcome` or by an error.
    asked: HashSet<String>,
    /// The topics whose tokens did not fit into the last query.
    left_out: HashSet<String>,
    /// The topic of the current session alone. The next session has another one.
    own: String,
    /// The topics that the current session has joined.
    joined: HashSet<String>,
    /// The joined topics whose filter the server has not confirmed since `welcome`. The application learns of no change
    /// by that.
    unfiltered: HashSet<String>,
    /// The topics whose offsets are not contiguous by design.
    sparse: HashSet<String>,
    /// The topics whose permission the server could not look up.
    unavailable: BTreeSet<String>,
    /// The places of the cursor whose topics the last `welcome` left out.
    dropped: HashMap<String, Place>,
    /// The windows that the server has confirmed in the current session. An older server confirms none.
    windows: HashMap<String, usize>,
    /// The number of the current session.
    session: u64,
}

impl State {
    pub(super) fn new(places: HashMap<String, Place>, wanted: Vec<Subscription>) -> Self {
        // Until the first `welcome`, the topics of the cursor may be those that the server subscribes by itself.
        let granted = places.keys().cloned().collect();
        let wanted = wanted.into_iter().map(|one| (one.topic.clone(), one)).collect();
        Self { places, wanted, granted, ..Self::default() }
    }

    /// Takes the topics of `welcome`. Returns the frames that subscribe to the other wanted topics, and unsubscribe
    /// from unwanted ones.
    ///
    /// # Errors
    /// Returns `Invalid` if a cursor is malformed.
    pub(super) fn welcome(
        &mut self,
        welcome: Welcome,
        out: &mut VecDeque<Entry>,
    ) -> Result<Vec<String>, Error> {
        let Welcome { session, topics, pending, .. } = welcome;
        let given: HashSet<String> = topics.iter().map(|one| one.topic.clone()).chain(pending).collect();
        self.own = session_topic(&session);
        self.session += 1;
        self.windows.clear();
        self.sparse.clear();
        self.joined.clear();
        self.unfiltered.clear();
        self.unavailable.clear();
        self.unwanted.retain(|topic| given.contains(topic));
        for topic in topics {
            // A topic with a window begins with the answer to its frame.
            if !self.unwanted.contains(&topic.topic) && !self.wants_window(&topic.topic) {
                self.place(topic, out)?;
            }
        }
        // The server has not seen the tokens of these topics: the client subscribes by name.
        for topic in self.left_out.drain().filter(|topic| !given.contains(topic)) {
            self.wanted.entry(topic.clone()).or_insert_with(|| Subscription::new(topic));
        }
        let wanted = &self.wanted;
        let lost = self.places.extract_if(|topic, _| !given.contains(topic) && !wanted.contains_key(topic));
        self.dropped = lost.collect();
        // The topic of an earlier session has ended with that session.
        let is_addressable = given.contains(&self.own);
        let is_own = |topic: &String| is_addressable && topic.starts_with(&session_topic(""));
        out.extend(self.dropped.keys().map(|topic| {
            let reason = (!is_own(topic)).then(|| "forbidden".to_owned());
            Entry::new(Item::Unsubscribed { topic: topic.clone(), reason })
        }));
        let unsubscribe = self.unwanted.iter().map(|topic| ClientFrame::Unsubscribe { topic }.encode());
        let is_joined = |topic| given.contains(topic) || self.asked.contains(topic);
        let rest: Vec<_> =
            self.wanted.values().filter(|one| one.needs_frame() || !is_joined(&one.topic)).collect();
        let unfiltered = rest.iter().map(|one| &one.topic).filter(|topic| self.joined.contains(*topic));
        self.unfiltered = unfiltered.cloned().collect();
        let frames = unsubscribe.chain(rest.into_iter().map(|one| self.subscribe_frame(one))).collect();
        self.granted = given;
        Ok(frames)
    }

    fn subscribe_frame(&self, wanted: &Subscription) -> String {
        wanted.frame(self.places.get(&wanted.topic).and_then(Place::cursor))
    }

    /// Adds a topic, or replaces its filter. Returns the frame.
    pub(super) fn subscribe(&mut self, wanted: Subscription) -> String {
        let frame = self.subscribe_frame(&wanted);
        self.unwanted.remove(&wanted.topic);
        self.unfiltered.remove(&wanted.topic);
        if wanted.window.is_some() {
            self.joined.remove(&wanted.topic);
        }
        self.wanted.insert(wanted.topic.clone(), wanted);
        frame
    }

    /// Removes a topic. Later events of it are discarded. Returns the frame.
    pub(super) fn unsubscribe(&mut self, topic: &str) -> String {
        if self.granted.contains(topic) {
            self.unwanted.insert(topic.to_owned());
        }
        self.forget(topic);
        ClientFrame::Unsubscribe { topic }.encode()
    }

    fn forget(&mut self, topic: &str) {
        self.wanted.remove(topic);
        self.joined.remove(topic);
        self.places.remove(topic);
        self.windows.remove(topic);
        self.unavailable.remove(topic);
        self.dropped.remove(topic);
        self.left_out.remove(topic);
    }

    /// Takes a frame about a topic; others have no effect. `bytes` is the length of the frame.
    ///
    /// # Errors
    /// Returns `Invalid` if a cursor is malformed.
    pub(super) fn take(
        &mut self,
        frame: ServerFrame,
        bytes: usize,
        out: &mut VecDeque<Entry>,
    ) -> Result<(), Error> {
        match frame {
            ServerFrame::Event(event) => self.event(event, bytes, out),
            ServerFrame::Subscribed(frame) if self.expects(&frame.topic) => self.place(frame, out)?,
            ServerFrame::Missed(frame) if self.expects(&frame.topic) => self.missed(frame, out)?,
            ServerFrame::Unsubscribed(TopicFrame { topic, reason, .. }) => {
                // The answer to `unsubscribe` has no reason. The application may have subscribed again since then.
                if reason.is_some() {
                    self.forget(&topic);
                }
                out.push_back(Entry::new(Item::Unsubscribed { topic, reason }));
            }
            ServerFrame::Error { code, detail } if code == "unavailable" => self.postpone(detail),
            ServerFrame::Error { code, detail } => {
                let is_refusal = matches!(code.as_str(), "forbidden" | "too_many_topics" | "no_history");
                if is_refusal && !self.wanted.contains_key(&detail) {
                    // A topic of the cursor alone. Unless it was pending, `welcome` has shown the refusal.
                    if self.places.contains_key(&detail) {
                        self.forget(&detail);
                        let reason = Some("forbidden".into());
                        out.push_back(Entry::new(Item::Unsubscribed { topic: detail, reason }));
                    }
                    return Ok(());
                }
                if is_refusal {
                    self.forget(&detail);
                }
                out.push_back(Entry::new(Item::Refused { code, detail }));
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns whether the session can have joined `topic`. A frame may come after `unsubscribe`.
    fn expects(&self, topic: &str) -> bool {
        self.wanted.contains_key(topic) || (self.granted.contains(topic) && !self.unwanted.contains(topic))
    }

    fn event(&mut self, event: EventFrame, bytes: usize, out: &mut VecDeque<Entry>) {
        if self.is_outdated(&event.topic) {
            return;
        }
        let window = self.window(&event.topic);
        // An event after `unsubscribe`.
        let Some(place) = self.places.get_mut(&event.topic) else { return };
        if let Some(offset) = event.offset {
            if offset <= place.reached {
                return;
            }
            let is_gap = place.token.is_some() && offset > place.reached + 1;
            place.reached = offset;
            let is_filtered = self.wanted.get(&event.topic).is_some_and(Subscription::has_filter);
            if is_gap && !is_filtered && !self.sparse.contains(&event.topic) {
                let (topic, reason) = (event.topic.clone(), MissedReason::Gap);
                out.push_back(Entry::new(Item::Missed { topic, reason }));
            }
        }
        // A topic of the query has no filter until the server confirms the frame.
        let wanted = self.wanted.get(&event.topic);
        if wanted.is_none_or(|one| one.passes(&event.event, event.key.as_deref())) {
            out.push_back(Entry { item: Item::Event(event.into()), place: None, bytes, window });
        }
    }

    fn missed(&mut self, missed: TopicFrame, out: &mut VecDeque<Entry>) -> Result<(), Error> {
        let TopicFrame { topic, cursor, reason, .. } = missed;
        if self.is_outdated(&topic) {
            return Ok(());
        }
        let window = self.window(&topic);
        let before = self.places.remove(&topic).unwrap_or_default();
        let place = before.skipped_to(parse(cursor)?);
        self.places.insert(topic.clone(), place.clone());
        let reason = reason.as_deref().map_or(MissedReason::Other, MissedReason::parse);
        out.push_back(Entry { window, ..Entry::at(Item::Missed { topic, reason }, place) });
        Ok(())
    }

    /// Begins, resumes or skips: what the server says about the position of a topic that is subscribed now.
    fn place(&mut self, frame: TopicFrame, out: &mut VecDeque<Entry>) -> Result<(), Error> {
        let TopicFrame { topic, cursor, recovered, sparse, window, .. } = frame;
        match sparse {
            true => self.sparse.insert(topic.clone()),
            false => self.sparse.remove(&topic),
        };
        match window {
            Some(size) => self.windows.insert(topic.clone(), size),
            None => self.windows.remove(&topic),
        };
        let token = parse(cursor)?;
        let begin = token.as_ref().map(Token::offset);
        let is_joined = !self.joined.insert(topic.clone());
        let is_own = self.unfiltered.remove(&topic);
        let before = self.places.remove(&topic);
        let resumed =
            before.as_ref().filter(|_| recovered == Some(true)).and_then(|b| b.resumed(token.clone()));
        let (place, item) = match (before, resumed) {
            (_, Some(place)) => (place, Item::Recovered { topic: topic.clone() }),
            (None, None) => (Place::at(token), Item::Subscribed { topic: topic.clone() }),
            // The filter has changed: the events up to the token have arrived or did not pass.
            (Some(before), None) if is_joined && recovered.is_none() => {
                (before.skipped_to(token), Item::Subscribed { topic: topic.clone() })
            }
            (Some(before), None) => {
                // After `false` the events follow the token, also those of a lower offset than that of a stored cursor, which
                // the server did not accept.
                let place = match recovered {
                    Some(false) => Place::at(token),
                    _ => before.skipped_to(token),
                };
                let reason = match &place.token {
                    None => MissedReason::NoHistory,
                    Some(_) if before.token.is_none() || before.has_epoch_of(&place) => MissedReason::History,
                    Some(_) => MissedReason::Epoch,
                };
                (place, Item::Missed { topic: topic.clone(), reason })
            }
        };
        self.check_begin(&topic, begin, &place);
        self.places.insert(topic, place.clone());
        if !is_own || matches!(item, Item::Missed { .. }) {
            out.push_back(Entry::at(item, place));
        }
        Ok(())
    }
}

fn parse(cursor: Option<String>) -> Result<Option<Token>, Error> {
    cursor.as_deref().map(Token::parse).transpose()
}

mod query;
mod unavailable;
mod windows;

#[cfg(test)]
mod tests;
