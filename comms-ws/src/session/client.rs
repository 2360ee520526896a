//! The client of a session: its frames, within their rate limit.

use std::{
    collections::HashSet,
    pin::Pin,
    sync::Arc,
    task::{Context, Waker},
    time::Instant,
};

use tokio::task::AbortHandle;

use super::{
    authenticate::check,
    grant::Session,
    join::Start,
    membership::Membership,
    permission::{FORBIDDEN, Refused, Wanted, look_up},
    rate::Rate,
    welcome::welcome,
};
use crate::{
    close::Close,
    connection::{Connection, Item},
    cursor,
    hub::{registry::Admission, state::HubState},
    protocol::{ClientFrame, End, ServerFrame},
    topic::Filter,
};

/// The number of malformed frames at which the session is closed.
const MALFORMED_LIMIT: u32 = 10;

/// The number of refused topics of a request after which no further topic is joined or answered. The address of a request has
/// room for thousands of names; the 4 KiB that the clients of this crate use for them have room for fewer than these.
const MAX_REFUSED: usize = 500;

/// The state of the client.
pub(super) struct Client {
    pub(super) hub: Arc<HubState>,
    pub(super) connection: Arc<Connection>,
    /// `None` until the client has authenticated.
    pub(super) session: Option<Session>,
    /// The topics and the cursor of the request, until the client has authenticated.
    request: Option<Box<(Vec<String>, Option<String>)>>,
    pub(super) memberships: Vec<Arc<Membership>>,
    /// Joins that wait for the backplane or for their client.
    tasks: Vec<AbortHandle>,
    malformed: u32,
    rate: Rate,
}

impl Client {
    pub(super) fn new(hub: Arc<HubState>, connection: Arc<Connection>) -> Self {
        let rate = Rate::new(hub.env.config.client_frames_per_second, hub.env.clock.now());
        Self {
            hub,
            connection,
            session: None,
            request: None,
            memberships: Vec::new(),
            tasks: Vec::new(),
            malformed: 0,
            rate,
        }
    }

    /// Keeps the topics and the cursor of the request until the client has authenticated.
    pub(super) fn wait(&mut self, topics: Vec<String>, cursor: Option<String>) {
        self.request = Some(Box::new((topics, cursor)));
    }

    /// Starts the session with its rights: sends the welcome frame, and joins the topics that the application has
    /// granted, those of `topics`, and those of `cursor`, after which the client resumes.
    pub(super) fn start(&mut self, session: Session, topics: Vec<String>, cursor: Option<&str>) {
        let session = self.with_own_topic(session);
        // The application may grant more topics than a client may add.
        let max = self.hub.env.config.max_topics.max(session.topics.len());
        let places =
            cursor.map(|cursor| cursor::read(&self.hub.env.cursor_keys, cursor, max)).unwrap_or_default();
        let resumed = places.topics().filter(|topic| !session.is_of_earlier_session(topic));
        let granted = session.topics.iter().map(|(topic, filter)| (topic.clone(), Some(filter)));
        let more = topics.into_iter().chain(resumed.map(str::to_owned)).map(|topic| (topic, None));
        let (mut seen, mut refused, mut joins) = (HashSet::new(), Vec::new(), Vec::new());
        for (topic, granted) in granted.chain(more) {
            if !seen.insert(topic.clone()) {
                continue;
            }
            if let Some(code) = self.unacceptable(&topic, granted.is_some()) {
                refused.push(Refused { code, topic });
                if refused.len() == MAX_REFUSED {
                    break;
                }
                continue;
            }
            let (start, asked) = (Start::of(&places, &topic), granted.is_none().then(|| session.clone()));
            let filter = granted.map_or_else(Filter::default, |granted| Filter::default().within(granted));
            let membership = Membership::enter(&self.hub, &self.connection, &topic, filter, None);
            joins.push(Wanted { membership: membership.clone(), start, asked });
            self.memberships.push(membership);
        }
        self.session = Some(session);
        self.run(welcome(self.hub.clone(), self.connection.clone(), joins, refused));
    }

    /// Leaves all topics.
    pub(super) fn leave_all(&mut self) {
        self.tasks.drain(..).for_each(|task| task.abort());
        self.memberships.clear();
    }

    /// Counts a frame of the client. Returns the close code if there are too many.
    pub(super) fn count_frame(&mut self) -> Result<(), Close> {
        let rate = self.hub.env.config.client_frames_per_second;
        if self.rate.admit(rate, self.hub.env.clock.now()) { Ok(()) } else { Err(Close::TOO_MANY) }
    }

    /// Notes that the session reads again, which it has not done since `paused`.
    pub(super) fn resume(&mut self, paused: Instant) {
        self.rate.resume(self.hub.env.config.client_frames_per_second, paused, self.hub.env.clock.now());
    }

    /// Handles a message of the client. Returns the close code if the message ends the session.
    pub(super) async fn on_text(&mut self, text: &str, admission: &mut Admission) -> Result<(), Close> {
        let frame = match serde_json::from_str(text) {
            Ok(frame) => frame,
            Err(error) => return self.malformed(&error.to_string()),
        };
        match (frame, &self.session) {
            (ClientFrame::Authenticate { token, cursor }, None) => {
                return self.authenticate(token, cursor, admission).await;
            }
            (_, None) => return Err(Close::UNAUTHENTICATED),
            (ClientFrame::Authenticate { .. }, _) => {
                return self.malformed("the session is authenticated: send refresh");
            }
            (ClientFrame::Refresh { token }, _) => self.refresh(token).await,
            (ClientFrame::Subscribe { topic, cursor, filter, window }, _) => {
                self.subscribe(topic, cursor, filter, window).await;
            }
            (ClientFrame::Unsubscribe { topic }, _) => self.unsubscribe(&topic, None),
            (ClientFrame::Ack { cursor }, Some(session)) => self.acknowledge(session, &cursor),
            (ClientFrame::Ping, _) => self.send(&ServerFrame::Pong),
        }
        Ok(())
    }

    async fn authenticate(
        &mut self,
        token: String,
        cursor: Option<String>,
        admission: &mut Admission,
    ) -> Result<(), Close> {
        let session = check(&self.hub, token).await.ok_or(Close::UNAUTHENTICATED)?;
        if let Err(refusal) = admission.assign(&session.principal, &self.hub.env.config) {
            self.hub.env.meters.refused(refusal);
            return Err(Close::TOO_MANY_SESSIONS);
        }
        self.connection.peer.set_principal(&session.principal);
        self.hub.watch.set_expiry(&self.connection, session.end());
        let (topics, earlier) = self.request.take().map(|request| *request).unwrap_or_default();
        self.start(session, topics, cursor.or(earlier).as_deref());
        Ok(())
    }

    async fn refresh(&mut self, token: String) {
        let session = check(&self.hub, token).await;
        let is_same =
            |session: &Session| self.session.as_ref().is_some_and(|old| old.principal == session.principal);
        let session = session.filter(is_same).map(|session| self.with_own_topic(session));
        let Some(session) = session else {
            let detail = "the token is not valid, or belongs to another user";
            return self.send(&ServerFrame::Error { code: "unauthorized", detail });
        };
        let end = session.end();
        self.memberships.retain(|membership| !membership.member.has_left());
        let topics = self.memberships.iter().map(|membership| membership.name().clone());
        let look_ups = topics.map(async |topic| (look_up(&self.hub, &session, &topic).await, topic));
        // A topic whose permission cannot be looked up now stays: it was allowed before.
        let forbidden: Vec<_> = futures_util::future::join_all(look_ups)
            .await
            .into_iter()
            .filter_map(|(allowed, topic)| (allowed == Err(FORBIDDEN)).then_some(topic))
            .collect();
        forbidden.iter().for_each(|topic| self.unsubscribe(topic, Some(FORBIDDEN)));
        self.memberships.iter().for_each(|membership| membership.narrow(&session));
        self.session = Some(session);
        self.hub.watch.set_expiry(&self.connection, end);
        let end = End::at(end, self.hub.env.clock.unix().as_secs());
        self.send(&ServerFrame::Refreshed { end });
    }

    fn with_own_topic(&self, session: Session) -> Session {
        session.with_own_topic(&self.connection.peer.name.to_string())
    }

    /// Counts a malformed frame. Sends the error, or closes the session at the limit.
    pub(super) fn malformed(&mut self, detail: &str) -> Result<(), Close> {
        self.malformed += 1;
        if self.malformed >= MALFORMED_LIMIT {
            return Err(Close::MALFORMED);
        }
        self.send(&ServerFrame::Error { code: "malformed", detail });
        Ok(())
    }

    pub(super) fn send(&self, frame: &ServerFrame<'_>) {
        self.connection.send(Item::control(frame));
    }

    /// Runs a task of this session. With the backplane in memory it ends at its first poll, and no task is spawned.
    pub(super) fn run(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        let mut task: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(task);
        if task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            self.tasks.retain(|task| !task.is_finished());
            self.tasks.push(self.hub.fanout.spawn(task));
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.leave_all();
    }
}
