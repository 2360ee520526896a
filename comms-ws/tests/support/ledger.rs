//! What a client has of its topics.

use std::collections::BTreeMap;

use serde_json::Value;

/// Checks each frame of a client: the events of a topic have consecutive offsets, and where they have not, a frame has
/// notified the client before. A client that reconnects keeps its ledger.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    topics: BTreeMap<String, Account>,
    /// The codes of the frames `error`, with their topic.
    pub(crate) errors: Vec<(String, String)>,
}

/// One topic of a client.
#[derive(Debug, Clone)]
struct Account {
    /// The last token from the server.
    token: String,
    epoch: String,
    offset: u64,
    /// The numbers of the pushes, in the order of their arrival.
    received: Vec<u64>,
    /// The gaps of which the client was notified: the last offset before, and the last one that is missing. An epoch that
    /// ended has a gap from its last offset to 0.
    gaps: Vec<(u64, u64)>,
}

/// A position from a cursor token.
struct Token {
    topic: String,
    epoch: String,
    offset: u64,
}

impl Token {
    fn read(token: &str) -> Self {
        let parts: Vec<&str> = token.split(':').collect();
        let [topic, epoch, offset, _mac] = parts[..] else { panic!("malformed token {token}") };
        let topic = percent_encoding::percent_decode_str(topic).decode_utf8().unwrap().into_owned();
        Self { topic, epoch: epoch.to_owned(), offset: offset.parse().unwrap() }
    }
}

impl Ledger {
    pub(crate) fn take(&mut self, frame: &Value) {
        match frame["type"].as_str().unwrap() {
            "welcome" => frame["topics"].as_array().unwrap().iter().for_each(|topic| self.join(topic)),
            "subscribed" => self.join(frame),
            "event" => self.event(frame),
            "missed" => self.missed(frame),
            "error" => {
                let text = |name: &str| frame[name].as_str().unwrap().to_owned();
                self.errors.push((text("code"), text("detail")));
            }
            "unsubscribed" => drop(self.topics.remove(frame["topic"].as_str().unwrap())),
            "drain" | "ping" | "pong" | "refreshed" => {}
            other => panic!("unknown frame {other}"),
        }
    }

    /// Takes the begin of a topic. A client that named a position of it has to learn whether it has recovered.
    fn join(&mut self, joined: &Value) {
        let topic = joined["topic"].as_str().unwrap();
        let Some(token) = joined["cursor"].as_str() else { return };
        let at = Token::read(token);
        assert_eq!(at.topic, topic);
        let Some(account) = self.topics.get_mut(topic) else {
            let Token { epoch, offset, .. } = at;
            let (received, gaps) = Default::default();
            let account = Account { token: token.into(), epoch, offset, received, gaps };
            self.topics.insert(topic.into(), account);
            return;
        };
        match joined["recovered"].as_bool() {
            Some(true) => {
                let known = (&account.epoch, account.offset);
                assert_eq!((&at.epoch, at.offset), known, "{topic} goes on at another position");
            }
            Some(false) => account.skip_to(at.epoch, at.offset),
            None => panic!("{topic} was presented, and its client does not learn whether it has recovered"),
        }
        account.token = token.into();
    }

    fn event(&mut self, frame: &Value) {
        let topic = frame["topic"].as_str().unwrap();
        let Some(offset) = frame["offset"].as_u64() else { return };
        let account =
            self.topics.get_mut(topic).unwrap_or_else(|| panic!("an event before {topic} has begun"));
        assert_eq!(offset, account.offset + 1, "{topic}: after {}, gaps {:?}", account.offset, account.gaps);
        account.offset = offset;
        account.received.push(frame["data"]["n"].as_u64().unwrap());
    }

    fn missed(&mut self, frame: &Value) {
        let Some(token) = frame["cursor"].as_str() else { return };
        let at = Token::read(token);
        let account = self.topics.get_mut(&at.topic).expect("a topic that has begun");
        assert!(
            at.epoch != account.epoch || at.offset > account.offset,
            "{}: {frame} after {}: nothing is missing",
            at.topic,
            account.offset
        );
        account.skip_to(at.epoch, at.offset);
        account.token = token.into();
    }

    /// Checks that the id of an event stream names the position of each topic, as the client has it.
    pub(crate) fn check_id(&self, id: &str) {
        // A long id leaves tokens out.
        for token in id.split(',').filter(|token| !token.is_empty() && *token != "*") {
            let at = Token::read(token);
            let account = &self.topics[&at.topic];
            assert_eq!((&at.epoch, at.offset), (&account.epoch, account.offset), "the id is {id}");
        }
    }

    /// Returns the cursor of the client: the last token of each topic, moved forward to the last event.
    pub(crate) fn cursor(&self) -> String {
        self.tokens().join(",")
    }

    /// Returns the parts of the cursor, in the order of the names of their topics.
    pub(crate) fn tokens(&self) -> Vec<String> {
        let token = |account: &Account| format!("{}~{}", account.token, account.offset);
        self.topics.values().map(token).collect()
    }

    pub(crate) fn offset(&self, topic: &str) -> Option<u64> {
        self.topics.get(topic).map(|account| account.offset)
    }

    pub(crate) fn received(&self, topic: &str) -> &[u64] {
        self.topics.get(topic).map_or(&[], |account| &account.received)
    }

    pub(crate) fn gaps(&self, topic: &str) -> &[(u64, u64)] {
        self.topics.get(topic).map_or(&[], |account| &account.gaps)
    }
}

impl Account {
    fn skip_to(&mut self, epoch: String, offset: u64) {
        let before = if self.epoch == epoch { self.offset } else { 0 };
        self.gaps.push((before, offset));
        (self.epoch, self.offset) = (epoch, offset);
    }
}
