//! A model of a hub: follows a topic, and repairs gaps from the history.

use std::{sync::Arc, time::Duration};

use comms_ws::backplane::{History, Position};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::node::{KEEP, Node};

/// What a follower has received.
#[derive(Debug, Clone)]
pub(crate) struct Followed {
    pub(crate) at: Position,
    /// The messages in the order in which they were accepted.
    pub(crate) accepted: Vec<(Position, String)>,
    /// How many times the history did not have all missed messages.
    pub(crate) jumps: usize,
}

/// Follows `topic` until the end of the test.
pub(crate) async fn follow(node: Arc<Node>, topic: &'static str) -> watch::Receiver<Followed> {
    let at = loop {
        match node.backplane.subscribe(topic, Some(KEEP)).await {
            Ok(position) => break position.unwrap(),
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    };
    let (sender, receiver) = watch::channel(Followed { at, accepted: Vec::new(), jumps: 0 });
    tokio::spawn(async move {
        let (mut read, mut interruptions) = (0, 0);
        let mut followed = sender.borrow().clone();
        while !sender.is_closed() {
            let recorder = &node.recorder;
            let news = recorder.until("news", |r| r.count() > read || r.interruptions() > interruptions);
            if timeout(Duration::from_secs(1), news).await.is_err() {
                continue;
            }
            for arrived in recorder.after(read) {
                read += 1;
                let position = arrived.position.unwrap();
                if !followed.accept(position, &arrived.body) {
                    followed.repair(&node, topic).await;
                }
            }
            if recorder.interruptions() > interruptions {
                interruptions = recorder.interruptions();
                followed.repair(&node, topic).await;
            }
            sender.send_replace(followed.clone());
        }
    });
    receiver
}

impl Followed {
    /// Accepts the next message and discards older ones. Returns `false` if messages are missing.
    fn accept(&mut self, position: Position, body: &[u8]) -> bool {
        let next = position.epoch == self.at.epoch && position.offset == self.at.offset + 1;
        if next {
            self.at = position;
            self.accepted.push((position, String::from_utf8(body.to_vec()).unwrap()));
        }
        next || position.epoch == self.at.epoch && position.offset <= self.at.offset
    }

    async fn repair(&mut self, node: &Node, topic: &str) {
        loop {
            let Ok(History { top, messages }) = node.backplane.history(topic, KEEP, self.at, 2_000).await
            else {
                sleep(Duration::from_millis(10)).await;
                continue;
            };
            let Some(messages) = messages else {
                self.jumps += 1;
                self.at = top;
                return;
            };
            for (offset, body) in messages {
                assert!(self.accept(Position { offset, ..top }, &body), "the history has a gap at {offset}");
            }
            if self.at.offset >= top.offset {
                return;
            }
        }
    }
}
