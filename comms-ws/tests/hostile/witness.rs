//! A session that shows that others are not affected.

use comms_ws::{Hub, HubBuilder, HubConfig, Session};

use crate::support::{Client, Ledger, Open, Server, Transport, builder, config, publish, server::Io};

pub(crate) const IO: [Io; 2] = [Io::Bare, Io::Wrapped];

/// A server with a session of another user, which reads all the time.
pub(crate) struct Witnessed {
    pub(crate) server: Server,
    client: Client,
    ledger: Ledger,
}

impl Witnessed {
    pub(crate) async fn start(io: Io, change: impl FnOnce(HubConfig) -> HubConfig) -> Self {
        Self::with(io, builder(change(config().client_frames_per_second(10)))).await
    }

    /// Starts a server that grants each user the topic `user/<name>`, and allows subscriptions to `public/...`.
    pub(crate) async fn with(io: Io, builder: HubBuilder) -> Self {
        let hub: Hub = builder.build().unwrap();
        let server = Server::start_with(hub, io, |user| {
            let session = Session::new(user, vec![format!("user/{user}")]);
            Some(session.address([127, 0, 0, 1].into()).allow(|topic| topic.starts_with("public/")))
        })
        .await;
        let mut ledger = Ledger::default();
        let open = Open::of("witness").topic("public/all");
        let mut client = Client::open(server.address, Transport::WebSocket, &open).await;
        client.checked(&mut ledger).await.unwrap();
        Self { server, client, ledger }
    }

    /// Checks that the witness receives a push at once.
    pub(crate) async fn check(&mut self) {
        let next = self.ledger.offset("user/witness").unwrap() + 1;
        publish(&self.server.hub, "user/witness", [next]).await;
        self.client.until(&mut self.ledger, "user/witness", next).await;
    }

    /// Reads the messages of the topic of all up to `offset`.
    pub(crate) async fn read(&mut self, offset: u64) {
        self.client.until(&mut self.ledger, "public/all", offset).await;
    }

    /// Checks that the witness receives a push, and that nothing is left of all other sessions.
    pub(crate) async fn end(mut self) {
        self.check().await;
        self.server.until("the witness alone is left", |stats| stats.sessions == 1).await;
        self.server
            .until("nothing is queued", |s| (s.topics, s.queued_bytes, s.held_bytes) == (2, 0, 0))
            .await;
        drop(self.client);
        self.server.until_empty().await;
    }
}
