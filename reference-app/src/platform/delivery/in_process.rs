//! Relays and consumers without a broker: the relay of the service that owns a topic calls the handlers directly.

use std::{sync::Arc, time::Duration};

use comms_core::Error;
use comms_outbox::Subscriber;

use super::wiring::{Delivery, GroupHandler, Prerequisites, Source};
use crate::platform::service::Subscription;

/// How long deliveries in flight may continue after shutdown was requested.
const GRACE: Duration = Duration::from_secs(2);

impl Delivery<'_> {
    /// Starts a relay for each group. The relay publishes to the group's handler.
    ///
    /// # Errors
    /// Returns `Invalid` if no service in this process owns the topic of a group, or if the configuration of attempts
    /// is invalid.
    pub(super) fn start_in_process(
        &self,
        sources: &[Source],
        handlers: Vec<GroupHandler>,
    ) -> Result<(), Error> {
        for GroupHandler { subscription: Subscription { group, topic }, db, handler } in handlers {
            let owner = sources.iter().find(|source| source.topics.iter().any(|owned| owned.name == topic));
            let owner = owner.ok_or_else(|| {
                Error::invalid(format!("no service in this process owns the topic {topic}"))
            })?;
            let holds = self.register_holds();
            let subscriber = Subscriber::builder(group)
                .on(topic, handler)
                .attempts(self.attempt_config()?)
                .holds(holds.clone())
                .clock(self.clock.clone())
                .build()?;
            self.health.check(&format!("{group}, held deliveries"), move || holds.state());
            let (stop, clock) = (subscriber.stop_token(), self.clock.clone());
            let prerequisites = Prerequisites { databases: vec![owner.db.clone(), db], topics: None };
            let relay = self.relay(owner, group, Arc::new(subscriber), Some(topic))?;
            self.stages.consumers.spawn(group, move |signal| async move {
                if !prerequisites.wait(signal.clone()).await {
                    return Ok(());
                }
                let stopped = async move {
                    signal.wait().await;
                    // The relay takes no more messages, and waits for the handlers in flight. After the grace period,
                    // messages that wait for another attempt are abandoned until the next start.
                    tokio::spawn(async move {
                        clock.sleep(GRACE).await;
                        stop.cancel();
                    });
                };
                relay.run(stopped).await
            });
        }
        Ok(())
    }
}
