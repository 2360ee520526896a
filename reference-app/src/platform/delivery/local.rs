//! Consumers without a broker: each reads the outbox of the service that owns its topic.

use comms_core::Error;

use super::{
    Delivery, GroupHandler, Source,
    wiring::{heartbeat, lease_owner, watch_lag_seconds},
};
use crate::platform::service::Subscription;

impl Delivery<'_> {
    /// Starts a consumer for each group.
    ///
    /// # Errors
    /// Returns `Invalid` if no service in this process owns the topic of a group, or if the configuration of attempts
    /// is invalid.
    pub(super) fn start_local(&self, sources: &[Source], handlers: Vec<GroupHandler>) -> Result<(), Error> {
        for GroupHandler { subscription: Subscription { group, topic }, db, handler } in handlers {
            let owner = sources.iter().find(|source| source.topics.iter().any(|owned| owned.name == topic));
            let owner = owner.ok_or_else(|| {
                Error::invalid(format!("no service in this process owns the topic {topic}"))
            })?;
            self.holds.add_relay(owner.name, group, owner.db.clone());
            let consumer = owner
                .db
                .consumer(group)
                .on(topic, handler)
                .attempts(self.attempts()?)
                .holds(self.register_holds())
                .clock(self.clock.clone())
                .health(self.health.component(group))
                .heartbeat(heartbeat(self.config, self.health, group))
                .lease(self.config.relay.lease)
                .parked_limit(self.config.health.parked_keys);
            let consumer = match lease_owner(self.config, &owner.db) {
                Some(owner) => consumer.owner(owner).build()?,
                None => consumer.build()?,
            };
            watch_lag_seconds(self.config, self.health, group, consumer.lag_seconds());
            self.run(&self.stages.consumers, group, vec![owner.db.clone(), db], None, |signal| {
                consumer.run(signal.wait())
            });
        }
        Ok(())
    }
}
