//! The whole system, or some of its roles, from configuration to shut-down.

use std::{collections::BTreeMap, fs, net::SocketAddr, time::Duration};

use comms_core::{Clock, Error, Health, Policy, PolicyConfig, jwt::Verifier};
use comms_grpc::{Channel, ListenerConfig, ServerConfig};
use comms_ws::{Hub, HubConfig};
use tokio::net::TcpListener;
use tonic::service::Routes;

use crate::{
    platform::{
        admin,
        config::{Config, Role},
        data_dir::DataDir,
        db::Db,
        deliveries::Deliveries,
        delivery::Delivery,
        descriptors::{self, Budget},
        http,
        identity::{self, DevIssuer},
        limits::Limits,
        listen,
        policies::Policies,
        stages::Stages,
        telemetry,
    },
    services::{
        gateway::{self, Gateway},
        notification::{self, NotificationService},
        order::{self, OrderService},
        payment::{self, PaymentService},
    },
};

/// The longest a call may take where its policy sets no limit.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// A running system.
pub struct System {
    config: Config,
    clock: Clock,
    stages: Stages,
    health: Health,
    policies: Policies,
    deliveries: Deliveries,
    addresses: BTreeMap<&'static str, SocketAddr>,
    issuer: Option<DevIssuer>,
    _data_dir: DataDir,
}

impl System {
    /// Starts the roles of `config`, and returns when all of them answer.
    ///
    /// # Errors
    /// `Invalid` for what the operator can mend (a busy port, a directory in use, a key that is none), else
    /// what the database or the broker says.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let data_dir = DataDir::lock(&config.data_dir)?;
        let clock = Clock::system();
        let mut system = Self {
            stages: Stages::new(clock.clone()),
            health: Health::with_clock(clock.clone()),
            policies: Policies::default(),
            deliveries: Deliveries::default(),
            clock,
            addresses: BTreeMap::new(),
            issuer: None,
            _data_dir: data_dir,
            config,
        };
        let starting = system.health.component("start");
        // Listeners first: a busy port is seen before anything is written or joined.
        let listeners = system.bind().await?;
        let started = system.start_roles(listeners).await;
        if let Err(error) = started {
            let limit = Duration::from_secs(system.config.shutdown_seconds);
            let _ = system.stages.shut_down(limit, std::future::pending()).await;
            return Err(error);
        }
        starting.ready();
        Ok(system)
    }

    /// Where a listener is: `gateway`, `order`, `payment`, `notification`, `admin`.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        self.addresses.get(name).copied()
    }

    /// Whether tokens can be had here.
    #[must_use]
    pub fn has_issuer(&self) -> bool {
        self.issuer.is_some()
    }

    /// Resolves when a part of it has failed for good.
    pub async fn failed(&self) {
        self.stages.failed().await;
    }

    /// Ends it in order: unready, no new requests, consumers, calls, relays, sockets, databases; at once when
    /// `now` resolves.
    ///
    /// # Errors
    /// The failure of a part, where that was why; `Fatal` where it was cut short.
    pub async fn shut_down(self, now: impl Future<Output = ()>) -> Result<(), Error> {
        self.health.component("shutting down").unready("draining");
        let limit = Duration::from_secs(self.config.shutdown_seconds);
        self.stages.shut_down(limit, now).await
    }

    async fn bind(&mut self) -> Result<BTreeMap<&'static str, TcpListener>, Error> {
        let config = &self.config;
        let wanted = [
            ("gateway", Some(Role::Gateway), config.gateway.listen),
            ("order", Some(Role::Order), config.order.listen),
            ("payment", Some(Role::Payment), config.payment.listen),
            ("notification", Some(Role::Notification), config.notification.listen),
            ("admin", None, config.admin.listen),
        ];
        let mut listeners = BTreeMap::new();
        for (name, role, address) in wanted {
            if role.is_none_or(|role| config.runs(role)) {
                let listener = listen::bind(address, &format!("{name}.listen")).await?;
                self.addresses.insert(name, listen::address(&listener)?);
                listeners.insert(name, listener);
            }
        }
        Ok(listeners)
    }

    async fn start_roles(&mut self, mut listeners: BTreeMap<&'static str, TcpListener>) -> Result<(), Error> {
        let metrics = telemetry::init_metrics()?;
        let (health, policies) = (self.health.clone(), self.policies.clone());
        let deliveries = self.deliveries.clone();
        let budget =
            Budget::of(descriptors::raise(), listeners.len() - usize::from(listeners.contains_key("admin")));
        let limits = Limits::new(self.config.listeners.clone(), budget);
        if let Some(listener) = listeners.remove("admin") {
            let bounds = limits.admin();
            let serve =
                move |told| admin::serve(listener, bounds, health, policies, deliveries, metrics, told);
            self.stages.admin.spawn("admin", serve);
        }
        let verifier = self.verifier()?;
        let (mut sources, mut subscriptions) = (Vec::new(), Vec::new());

        if let Some(listener) = listeners.remove("payment") {
            let db = self.open(payment::SCHEMA, &payment::MIGRATIONS).await?;
            let service = PaymentService::new(db, self.config.payment.limit_minor, self.clock.clone());
            self.serve_grpc("payment grpc", listener, limits.grpc("payment"), service.routes());
            sources.push(service.source());
            subscriptions.extend(service.subscriptions());
        }
        if let Some(listener) = listeners.remove("order") {
            let db = self.open(order::SCHEMA, &order::MIGRATIONS).await?;
            let service = OrderService::new(db, self.clock.clone());
            self.serve_grpc("order grpc", listener, limits.grpc("order"), service.routes());
            sources.push(service.source());
            let payments = self.channel("payment", self.config.payment.url.as_deref())?;
            let policy = self.policy("payment", &self.config.policies.payment)?;
            subscriptions.extend(service.subscriptions(payments, policy));
        }
        if let Some(listener) = listeners.remove("notification") {
            let db = self.open(notification::SCHEMA, &notification::MIGRATIONS).await?;
            let hub = self.hub()?;
            let service = NotificationService::new(db, hub.clone(), self.clock.clone());
            self.serve_sockets(listener, limits.http("notification"), service.routes(verifier.clone()), hub);
            sources.push(service.source());
            subscriptions.extend(service.subscriptions());
        }
        let delivery = Delivery {
            config: &self.config,
            stages: &self.stages,
            health: &self.health,
            deliveries: &self.deliveries,
            clock: &self.clock,
        };
        delivery.start(sources, subscriptions)?;
        // The edge last: nobody is let in before there is somebody behind it.
        if let Some(listener) = listeners.remove("gateway") {
            let routes = self.gateway(verifier)?.routes();
            let limits = limits.http("gateway");
            self.stages.edge.spawn("gateway", move |told| http::serve(listener, routes, limits, told.wait()));
        }
        Ok(())
    }

    fn verifier(&mut self) -> Result<Verifier, Error> {
        let auth = &self.config.auth;
        match &auth.public_key_file {
            Some(file) => {
                let pem = fs::read_to_string(file)
                    .map_err(|e| Error::invalid(format!("auth.public_key_file {}: {e}", file.display())))?;
                identity::verifier(&pem, auth, &self.clock)
            }
            None => {
                let issuer = DevIssuer::load(&self.config.data_dir, auth, &self.clock)?;
                let verifier = identity::verifier(issuer.public_pem(), auth, &self.clock);
                self.issuer = Some(issuer);
                verifier
            }
        }
    }

    async fn open(
        &mut self,
        schema: &'static str,
        migrations: &sqlx::migrate::Migrator,
    ) -> Result<Db, Error> {
        let db = match &self.config.database {
            Some(d) => Db::postgres(&d.url, schema, d.max_connections, migrations, &self.clock).await,
            None => Db::sqlite(&self.config.data_dir, schema, migrations).await,
        };
        let db = db.map_err(|e| e.context(format_args!("database of {schema}")))?;
        let closing = db.clone();
        self.stages.databases.at_end(schema, async move {
            closing.close().await;
            Ok(())
        });
        Ok(db)
    }

    /// A channel to a service: by its configured URL, else by the address it got in this process.
    fn channel(&self, name: &'static str, url: Option<&str>) -> Result<Channel, Error> {
        let bound = self.address(name).map(|address| format!("http://{address}"));
        let url = url.map(str::to_owned).or(bound).unwrap_or_default();
        Channel::builder(url).peer(name).timeout(CALL_LIMIT).clock(self.clock.clone()).build()
    }

    /// The guards of the calls to a service.
    fn policy(&self, name: &'static str, config: &PolicyConfig) -> Result<Policy, Error> {
        self.policies.add(name, config.clone(), &self.clock, &self.health)
    }

    fn hub(&self) -> Result<Hub, Error> {
        let mut config = HubConfig::default();
        config.origins = self.config.notification.origins.clone();
        if let Some(gateway) = self.address("gateway") {
            // A browser calls this machine by any of its names.
            let hosts = [gateway.to_string(), format!("localhost:{}", gateway.port())];
            config.origins.extend(hosts.map(|host| format!("http://{host}")));
        }
        Hub::new(config, self.clock.clone())
    }

    fn gateway(&self, verifier: Verifier) -> Result<Gateway, Error> {
        let config = &self.config.gateway;
        let timeout = Duration::from_millis(config.request_timeout_ms);
        // What is configured is what clients can reach; the bound address is what is known without that.
        let configured = self.config.notification.url.clone();
        let bound = self.address("notification").map(|address| format!("ws://{address}"));
        let websocket_url = configured.or(bound).unwrap_or_default();
        Ok(Gateway::new(gateway::Settings {
            orders: self.channel("order", self.config.order.url.as_deref())?,
            policy: self.policy("order", &self.config.policies.order)?,
            verifier,
            issuer: self.issuer.clone(),
            websocket_url,
            timeout,
            body_limit: config.body_limit,
            clock: self.clock.clone(),
        }))
    }

    fn serve_grpc(&self, name: &'static str, listener: TcpListener, limits: ServerConfig, routes: Routes) {
        let clock = self.clock.clone();
        self.stages
            .calls
            .spawn(name, move |told| comms_grpc::serve(listener, routes, limits, clock, told.wait()));
    }

    fn serve_sockets(&self, listener: TcpListener, limits: ListenerConfig, routes: axum::Router, hub: Hub) {
        self.stages.sockets.spawn("sockets", move |told| async move {
            let ends = async move {
                told.wait().await;
                hub.drain(Duration::from_secs(5)).await;
            };
            http::serve(listener, routes, limits, ends).await
        });
    }
}
