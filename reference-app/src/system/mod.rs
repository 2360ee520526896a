//! Starts the configured services in one process, and shuts them down in stages.
//!
//! [`System::start`] binds all listeners, then starts each service (its database, its handlers, its background loops),
//! then the relays and consumers, and serves requests last. [`System::shut_down`] ends the stages of [`Stages`] in
//! order. `serve` serves the listeners.

mod serve;

use std::{collections::BTreeMap, net::SocketAddr};

use comms_core::{Error, clock::Clock, health::Health, transport::BoxHandler};
use tokio::net::TcpListener;

use crate::platform::{
    channels::ChannelRegistry,
    config::Config,
    data_dir::DataDir,
    db::Db,
    delivery::{Delivery, GroupHandler, Source},
    holds::HoldRegistry,
    http,
    identity::Identity,
    listeners::{
        self, Limits,
        file_descriptors::{self, ConnectionBudget},
    },
    policies::Policies,
    projections::ProjectionRegistry,
    sagas::SagaRegistry,
    service::{Database, Host, Parts, Protocol, Serves, Service},
    shutdown::Stages,
    sockets::SocketRegistry,
    tls::Tls,
};

/// The name of the admin listener in the configuration, in logs and in metrics.
const ADMIN: &str = "admin";

/// A running set of services with their listeners, relays and consumers.
pub struct System {
    config: Config,
    clock: Clock,
    stages: Stages,
    health: Health,
    policies: Policies,
    channels: ChannelRegistry,
    sockets: SocketRegistry,
    holds: HoldRegistry,
    sagas: SagaRegistry,
    projections: ProjectionRegistry,
    draining: http::Draining,
    addresses: BTreeMap<&'static str, SocketAddr>,
    hints: Vec<String>,
    _data_dir: DataDir,
}

impl System {
    /// Starts the services that `config` names, and returns when each of them listens. A database or a broker that
    /// cannot be reached does not fail the start: `/readyz` shows the process as unready, with the reason.
    ///
    /// # Errors
    /// Returns `Invalid` if the configuration cannot work on this machine (a port is taken, the data directory is in
    /// use, a key cannot be read), and `Internal` if a service does not match its registration.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let data_dir = DataDir::lock(&config.data_dir)?;
        let clock = Clock::system();
        let mut system = Self {
            stages: Stages::new(clock.clone()),
            health: Health::with_clock(clock.clone()),
            policies: Policies::default(),
            channels: ChannelRegistry::default(),
            sockets: SocketRegistry::default(),
            holds: HoldRegistry::default(),
            sagas: SagaRegistry::default(),
            projections: ProjectionRegistry::default(),
            draining: http::Draining::default(),
            clock,
            addresses: BTreeMap::new(),
            hints: Vec::new(),
            _data_dir: data_dir,
            config,
        };
        let starting = system.health.component("start");
        // Listeners first: a taken port fails the start before a database is opened or a consumer group is joined.
        let listeners = system.bind().await?;
        let started = system.start_services(listeners).await;
        if let Err(error) = started {
            let _ = system.stages.shut_down(system.config.shutdown.limit, std::future::pending()).await;
            return Err(error);
        }
        starting.ready();
        Ok(system)
    }

    /// Returns the listeners of this process with their schemes and addresses, in the order of the services, then
    /// `admin`.
    pub fn listeners(&self) -> impl Iterator<Item = (&'static str, &'static str, SocketAddr)> {
        let services = self.config.services().iter();
        let all = services.filter_map(|service| Some((service.name, self.config.scheme(service.protocol?))));
        all.chain([(ADMIN, self.config.scheme(Protocol::Http))])
            .filter_map(|(name, scheme)| Some((name, scheme, *self.addresses.get(name)?)))
    }

    /// Returns the commands to try that the services suggest.
    #[must_use]
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// Resolves when a task of the system fails, panics, or ends before the shutdown was requested.
    pub async fn failed(&self) {
        self.stages.failed().await;
    }

    /// Shuts the system down: readiness fails, the listeners accept connections for `shutdown.accepting`, then the
    /// stages end one after the other, all within `shutdown.limit`. When `now` resolves, the rest ends at once.
    ///
    /// # Errors
    /// Returns the error of the first task that failed, and `Fatal` if `now` cut the shutdown short.
    pub async fn shut_down(self, now: impl Future<Output = ()>) -> Result<(), Error> {
        self.health.component("shutting down").unready("draining");
        self.draining.begin();
        let accepting = self.config.shutdown.accepting;
        let mut now = std::pin::pin!(now);
        if !accepting.is_zero() {
            tracing::info!(?accepting, "unready; the listeners still accept connections");
            tokio::select! {
                () = self.clock.sleep(accepting) => {}
                () = self.failed() => {}
                () = &mut now => return self.stages.shut_down(self.config.shutdown.limit, std::future::ready(())).await,
            }
        }
        self.stages.shut_down(self.config.shutdown.limit, now).await
    }

    /// Binds the listeners of the running services and the admin listener.
    async fn bind(&mut self) -> Result<BTreeMap<&'static str, TcpListener>, Error> {
        let mut wanted = vec![(ADMIN, self.config.admin.listen)];
        for service in self.config.running().filter(|service| service.protocol.is_some()) {
            wanted.push((service.name, self.config.listen(service.name)?));
        }
        let mut listeners = BTreeMap::new();
        for (name, address) in wanted {
            let listener = listeners::bind(address, &format!("{name}.listen")).await?;
            let address = listeners::address(&listener)?;
            tracing::info!(listener = name, %address, "bound");
            self.addresses.insert(name, address);
            listeners.insert(name, listener);
        }
        Ok(listeners)
    }

    /// Starts the admin listener, each service, the relays and consumers between them, and then their listeners.
    async fn start_services(
        &mut self,
        mut listeners: BTreeMap<&'static str, TcpListener>,
    ) -> Result<(), Error> {
        let admin = listeners.remove(ADMIN);
        let limits = Limits::new(
            self.config.listeners.clone(),
            ConnectionBudget::divide(file_descriptors::raise_limit(), listeners.len()),
        );
        self.serve_admin(admin, &limits)?;
        let identity = Identity::load(&self.config, &self.clock)?;
        let tls = Tls::load(&self.config, &self.clock).await?;
        if let Some(renewal) = tls.renewal() {
            self.stages.databases.spawn("development certificates", |shutdown| renewal.run(shutdown));
        }
        let running: Vec<&'static Service> = self.config.running().collect();
        let (mut sources, mut subscriptions, mut served) = (Vec::new(), Vec::new(), Vec::new());
        for service in running {
            let parts = self.start_service(service, &identity, &tls, &mut sources).await?;
            subscriptions.extend(group_handlers(service, &sources, parts.handlers));
            for background in parts.loops {
                // The function is called inside the task, so that its panic counts as a failure of the loop.
                let run = move |shutdown| async move { (background.run)(shutdown).await };
                self.stages.consumers.spawn(background.name, run);
            }
            self.hints.extend(parts.hint);
            if let Serves::Sockets { hub, .. } = &parts.serves {
                self.sockets.add(service.name, hub.clone());
            }
            served.push((service.name, listeners.remove(service.name), parts.serves));
        }
        let delivery = Delivery {
            config: &self.config,
            stages: &self.stages,
            health: &self.health,
            holds: &self.holds,
            clock: &self.clock,
        };
        delivery.start(sources, subscriptions)?;
        for (name, listener, serves) in served {
            if let Some(listener) = listener {
                self.serve(name, listener, &limits, serves, &tls)?;
            }
        }
        Ok(())
    }

    /// Opens the database of `service`, adds it to `sources`, and calls the service's `start`.
    async fn start_service(
        &self,
        service: &'static Service,
        identity: &Identity,
        tls: &Tls,
        sources: &mut Vec<Source>,
    ) -> Result<Parts, Error> {
        let database = match &service.database {
            Some(database) => Some(self.open(database).await?),
            None => None,
        };
        if let Some(db) = database.clone() {
            sources.push(Source { name: service.source, db, topics: service.topics });
        }
        let host = Host {
            name: service.name,
            protocol: service.protocol,
            calls: service.calls,
            refers_to: service.refers_to,
            config: &self.config,
            addresses: &self.addresses,
            database,
            identity,
            tls,
            policies: &self.policies,
            channels: &self.channels,
            sagas: &self.sagas,
            projections: &self.projections,
            health: &self.health,
            drain: &self.stages.calls.signal(),
            clock: &self.clock,
        };
        let parts = (service.start)(&host).map_err(|e| e.context(format_args!("start {}", service.name)))?;
        service.check_parts(&parts)?;
        Ok(parts)
    }

    /// Returns a service's database, and closes it in the last stage. The connection to PostgreSQL is made in the
    /// background, so that a server that is away does not fail the start.
    async fn open(&self, database: &'static Database) -> Result<Db, Error> {
        let Database { schema, migrations } = *database;
        let db = match &self.config.database {
            Some(config) => {
                Db::postgres(&config.url, schema, config.max_connections, migrations, &self.clock)
            }
            None => Db::sqlite(&self.config.data_dir, schema, migrations, &self.clock).await,
        };
        let db = db.map_err(|e| e.context(format_args!("database of {schema}")))?;
        let (opening, component) = (db.clone(), self.health.component(&format!("database {schema}")));
        self.stages.databases.spawn(schema, move |shutdown| async move {
            tokio::select! {
                result = opening.open(component) => result,
                () = shutdown.wait() => Ok(()),
            }
        });
        let closing = db.clone();
        self.stages.databases.at_end(schema, async move {
            closing.close().await;
            Ok(())
        });
        Ok(db)
    }
}

/// Joins each handler of `service` with the subscription of its group and with the service's database.
fn group_handlers(
    service: &Service,
    sources: &[Source],
    handlers: Vec<(&'static str, BoxHandler)>,
) -> Vec<GroupHandler> {
    let db = sources.iter().find(|source| source.name == service.source).map(|source| &source.db);
    let find = |group| service.subscriptions.iter().find(|subscription| subscription.group == group).copied();
    let join = |(group, handler)| Some(GroupHandler { subscription: find(group)?, db: db?.clone(), handler });
    handlers.into_iter().filter_map(join).collect()
}
