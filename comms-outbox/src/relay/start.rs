/// Where a relay begins to read a topic that its cursor did not cover before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Start {
    /// At the oldest row that the outbox still has. No row is lost; rows that another relay delivered are delivered
    /// again.
    #[default]
    Oldest,
    /// A new relay begins with the rows that are committed from now on. A topic that is added to an existing relay
    /// begins at the relay's position. Use it if another relay has delivered the older rows.
    Now,
}
