//! The whole system, or some of its roles, from the configuration to the shutdown.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use comms_core::{Error, clock::Clock, health::Health, transport::BoxHandler};
use tokio::net::TcpListener;

use crate::platform::{
    admin::{Admin, AdminToken},
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
    service::{Database, Host, Parts, Protocol, Serves, Service},
    shutdown::Stages,
    telemetry,
};

/// The name of the admin listener.
const ADMIN: &str = "admin";
/// How long the sessions of a hub may take to close.
const HUB_DRAIN: Duration = Duration::from_secs(5);

/// A running system.
pub struct System {
    config: Config,
    clock: Clock,
    stages: Stages,
    health: Health,
    policies: Policies,
    holds: HoldRegistry,
    draining: http::Draining,
    addresses: BTreeMap<&'static str, SocketAddr>,
    hints: Vec<String>,
    _data_dir: DataDir,
}

impl System {
    /// Starts the roles of `config`, and returns when each of them listens. A server that is away does not stop it: the
    /// process is unready with the reason.
    ///
    /// # Errors
    /// Returns `Invalid` for what the operator can mend here (a busy port, a directory in use, a key that cannot be
    /// read), and `Internal` for a service that does not do what it has registered.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let data_dir = DataDir::lock(&config.data_dir)?;
        let clock = Clock::system();
        let mut system = Self {
            stages: Stages::new(clock.clone()),
            health: Health::with_clock(clock.clone()),
            policies: Policies::default(),
            holds: HoldRegistry::default(),
            draining: http::Draining::default(),
            clock,
            addresses: BTreeMap::new(),
            hints: Vec::new(),
            _data_dir: data_dir,
            config,
        };
        let starting = system.health.component("start");
        // Listeners first: a busy port is seen before anything is written or joined.
        let listeners = system.bind().await?;
        let started = system.start_services(listeners).await;
        if let Err(error) = started {
            let _ = system.stages.shut_down(system.config.shutdown.limit, std::future::pending()).await;
            return Err(error);
        }
        starting.ready();
        Ok(system)
    }

    /// The listeners of this process with their schemes and addresses, in the order of the services, then `admin`.
    pub fn listeners(&self) -> impl Iterator<Item = (&'static str, &'static str, SocketAddr)> {
        let services = self.config.services().iter();
        let all = services.filter_map(|service| Some((service.name, service.protocol?.scheme())));
        all.chain([(ADMIN, Protocol::Http.scheme())])
            .filter_map(|(name, scheme)| Some((name, scheme, *self.addresses.get(name)?)))
    }

    /// What a person may try, as the services put it.
    #[must_use]
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// Resolves when a part of it has failed for good.
    pub async fn failed(&self) {
        self.stages.failed().await;
    }

    /// Ends it in order: readiness fails, the listeners go on accepting for `shutdown.accepting`, then the stages end one
    /// after the other; at once when `now` resolves.
    ///
    /// # Errors
    /// Returns the failure of the part that caused the shutdown, and `Fatal` if the shutdown was cut short.
    pub async fn shut_down(self, now: impl Future<Output = ()>) -> Result<(), Error> {
        self.health.component("shutting down").unready("draining");
        self.draining.begin();
        let accepting = self.config.shutdown.accepting;
        let mut now = std::pin::pin!(now);
        if !accepting.is_zero() {
            tracing::info!(?accepting, "unready; the listeners go on accepting");
            tokio::select! {
                () = self.clock.sleep(accepting) => {}
                () = self.failed() => {}
                () = &mut now => return self.stages.shut_down(self.config.shutdown.limit, std::future::ready(())).await,
            }
        }
        self.stages.shut_down(self.config.shutdown.limit, now).await
    }

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
        let running: Vec<&'static Service> = self.config.running().collect();
        let (mut sources, mut subscriptions, mut served) = (Vec::new(), Vec::new(), Vec::new());
        for service in running {
            let parts = self.start_service(service, &identity, &mut sources).await?;
            subscriptions.extend(handled(service, &sources, parts.handlers));
            for each in parts.loops {
                // In a future, so that a panic of the function itself is a failure of the loop, too.
                self.stages.consumers.spawn(each.name, move |told| async move { (each.run)(told).await });
            }
            self.hints.extend(parts.hint);
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
                self.serve(name, listener, &limits, serves);
            }
        }
        Ok(())
    }

    async fn start_service(
        &self,
        service: &'static Service,
        identity: &Identity,
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
            policies: &self.policies,
            health: &self.health,
            clock: &self.clock,
        };
        let parts = (service.start)(&host).map_err(|e| e.context(format_args!("start {}", service.name)))?;
        service.check_parts(&parts)?;
        Ok(parts)
    }

    async fn open(&self, database: &'static Database) -> Result<Db, Error> {
        let Database { schema, migrations } = *database;
        let db = match &self.config.database {
            Some(d) => Db::postgres(&d.url, schema, d.max_connections, migrations, &self.clock),
            None => Db::sqlite(&self.config.data_dir, schema, migrations).await,
        };
        let db = db.map_err(|e| e.context(format_args!("database of {schema}")))?;
        let (opening, component) = (db.clone(), self.health.component(&format!("database {schema}")));
        self.stages.databases.spawn(schema, move |told| async move {
            tokio::select! {
                ended = opening.open(component) => ended,
                () = told.wait() => Ok(()),
            }
        });
        let closing = db.clone();
        self.stages.databases.at_end(schema, async move {
            closing.close().await;
            Ok(())
        });
        Ok(db)
    }

    fn serve_admin(&self, listener: Option<TcpListener>, limits: &Limits) -> Result<(), Error> {
        let admin = Admin {
            health: self.health.clone(),
            policies: self.policies.clone(),
            holds: self.holds.clone(),
            token: AdminToken::load(&self.config)?,
            metrics: telemetry::init_metrics()?,
            clock: self.clock.clone(),
        };
        if let Some(listener) = listener {
            let limits = limits.admin();
            self.stages.admin.spawn(ADMIN, move |told| admin.serve(listener, limits, told));
        }
        Ok(())
    }

    fn serve(&self, name: &'static str, listener: TcpListener, limits: &Limits, serves: Serves) {
        match serves {
            Serves::Nothing => {}
            Serves::Grpc(routes) => {
                let (limits, clock) = (limits.grpc(name), self.clock.clone());
                self.stages
                    .calls
                    .spawn(name, move |told| comms_grpc::serve(listener, routes, limits, clock, told.wait()));
            }
            Serves::Http(routes) => {
                let (limits, routes) = (limits.http(name), self.draining.layer(routes));
                self.stages.edge.spawn(name, move |told| http::serve(listener, routes, limits, told.wait()));
            }
            Serves::Sockets(routes, hub) => {
                let (limits, routes) = (limits.http(name), self.draining.layer(routes));
                self.stages.sockets.spawn(name, move |told| async move {
                    let ends = async move {
                        told.wait().await;
                        hub.drain(HUB_DRAIN).await;
                    };
                    http::serve(listener, routes, limits, ends).await
                });
            }
        }
    }
}

/// The handlers of `service` with their subscriptions, and the database that the service has opened.
fn handled(
    service: &Service,
    sources: &[Source],
    handlers: Vec<(&'static str, BoxHandler)>,
) -> Vec<GroupHandler> {
    let db = sources.iter().find(|source| source.name == service.source).map(|source| &source.db);
    let find = |group| service.subscriptions.iter().find(|one| one.group == group).copied();
    let handled =
        |(group, handler)| Some(GroupHandler { subscription: find(group)?, db: db?.clone(), handler });
    handlers.into_iter().filter_map(handled).collect()
}
