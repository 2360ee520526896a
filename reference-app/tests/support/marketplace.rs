//! A running marketplace, in one of three deployments.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use comms_core::clock::Clock;
use comms_grpc::tls::{DevelopmentAuthority, Identity, Trust, rustls};
use reference_app::{
    platform::{
        config::Auth,
        identity::DevIssuer,
        service::{Protocol, Service},
    },
    services,
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tempfile::TempDir;

use super::{Ads, Buyer, Databases, Process, eventually, server};

/// The default of `tls.trust_domain`.
pub const TRUST_DOMAIN: &str = "comms.local";

/// The processes and the servers of a marketplace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deployment {
    /// One process on SQLite. The relay delivers the messages.
    Embedded,
    /// One process on PostgreSQL and Kafka.
    Full,
    /// A process for each service, in the order of [`services::ALL`], on PostgreSQL and Kafka.
    FullByRole,
}

pub struct Marketplace {
    pub deployment: Deployment,
    pub processes: Vec<Process>,
    pub gateway: String,
    pub socket: String,
    pub databases: Databases,
    urls: Vec<(&'static str, String)>,
    /// The prefix of its topics and groups on the Kafka cluster.
    pub prefix: String,
    ads: Ads,
    issuer: DevIssuer,
    dir: TempDir,
}

impl Marketplace {
    /// Starts a marketplace with new databases and topics, and waits until it is ready.
    pub async fn start(deployment: Deployment) -> Self {
        Self::start_with(deployment, &[]).await
    }

    /// As [`Marketplace::start`], with more environment variables. They override the others; an empty value removes the
    /// variable.
    pub async fn start_with(deployment: Deployment, more: &[(&str, &str)]) -> Self {
        let mut marketplace = Self::spawn_with(deployment, more).await;
        marketplace.ready().await;
        marketplace
    }

    /// As [`Marketplace::start_with`], but does not wait until the marketplace is ready.
    pub async fn spawn_with(deployment: Deployment, more: &[(&str, &str)]) -> Self {
        Self::spawn_via(deployment, None, more).await
    }

    /// As [`Marketplace::spawn_with`], with another address of PostgreSQL for the processes.
    pub async fn spawn_via(
        deployment: Deployment,
        postgres: Option<SocketAddr>,
        more: &[(&str, &str)],
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let auth = Auth {
            issuer: "tests".into(),
            audience: "comms".into(),
            public_key_file: None,
            clock_skew: Duration::from_secs(30),
        };
        let issuer = DevIssuer::load(dir.path(), &auth, &Clock::system()).unwrap();
        let mut env = environment(&dir, &issuer);
        let name = format!("t_{}", Clock::system().uuid_v7().simple());
        let prefix = format!("{name}.");
        let databases = match deployment {
            Deployment::Embedded => Databases::sqlite(dir.path().join("data")),
            Deployment::Full | Deployment::FullByRole => {
                let url = create_database(&name).await;
                env.extend([
                    ("COMMS_DATABASE__URL".into(), postgres.map_or_else(|| url.clone(), |at| via(&url, at))),
                    ("COMMS_KAFKA__BROKERS".into(), server("COMMS_TEST_KAFKA_BROKERS")),
                    ("COMMS_KAFKA__PREFIX".into(), prefix.clone()),
                    ("COMMS_KAFKA__REPLICATION_FACTOR".into(), "1".into()),
                ]);
                Databases::postgres(url)
            }
        };
        env.retain(|(name, _)| !more.contains(&(name, "")));
        let set = more.iter().filter(|(_, value)| !value.is_empty());
        env.extend(set.map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        let ports = free_ports(2 * services::ALL.len());
        let (listeners, admins) = ports.split_at(services::ALL.len());
        let urls = services::ALL.iter().zip(listeners);
        let urls = urls.filter_map(|(one, port)| Some((one.name, address(one, *port, has_tls(&env))?)));
        let urls: Vec<_> = urls.collect();
        let url = |name: &str| urls.iter().find(|(service, _)| *service == name).unwrap().1.clone();
        let mut marketplace = Self {
            deployment,
            processes: processes(deployment, &dir, listeners, admins, &env),
            gateway: url("gateway"),
            socket: url("notification"),
            databases,
            urls: urls.clone(),
            prefix,
            ads: Ads::default(),
            issuer,
            dir,
        };
        for process in &mut marketplace.processes {
            process.spawn();
        }
        marketplace
    }

    /// Waits until all processes are ready.
    pub async fn ready(&mut self) {
        for process in &mut self.processes {
            process.ready().await;
        }
    }

    /// Returns the process of `role` in [`Deployment::FullByRole`].
    pub fn process(&self, role: &str) -> &Process {
        self.processes.iter().find(|process| process.name == role).unwrap()
    }

    /// Starts another process of `role` in [`Deployment::FullByRole`], and waits until it is ready. Returns the URL of its
    /// listener.
    pub async fn start_another(&mut self, role: &str) -> String {
        let ports = free_ports(2);
        let listen = format!("127.0.0.1:{}", ports[0]);
        let more = [
            (format!("COMMS_{}__LISTEN", role.to_uppercase()), listen.clone()),
            ("COMMS_ADMIN__LISTEN".to_owned(), format!("127.0.0.1:{}", ports[1])),
            ("COMMS_DATA_DIR".to_owned(), self.dir.path().join(format!("{role}-2")).display().to_string()),
        ];
        let mut another = self.process(role).twin(&format!("{role}-2"), ports[1], more.into());
        another.spawn();
        another.ready().await;
        self.processes.push(another);
        let (scheme, _) = self.socket.split_once("://").unwrap();
        format!("{scheme}://{listen}")
    }

    /// Returns a buyer, whose sockets are opened at `url`.
    pub fn buyer_at(&self, user: &str, url: &str) -> Buyer {
        let token = self.token(user, Duration::from_secs(3_600));
        let mut buyer = Buyer::new(user, token, &self.gateway, url);
        buyer.ads = self.ads.clone();
        buyer
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Returns the identity of `service` in this marketplace, and its trust.
    pub async fn certificates(&self, service: &str) -> (Identity, Trust) {
        certificates(&self.dir.path().join("tls"), service).await
    }

    /// Returns the URL of the listener of `service`.
    pub fn url(&self, service: &str) -> String {
        self.urls.iter().find(|(name, _)| *name == service).unwrap().1.clone()
    }

    /// Returns the token of the admin listener, which the profile `embedded` creates at the first start.
    pub fn admin_token(&self) -> String {
        std::fs::read_to_string(self.data_dir().join("admin-token")).unwrap()
    }

    /// Sends `POST path` to the admin listener of the first process, with the operator's token.
    pub async fn operate(&self, path: &str, body: Option<&serde_json::Value>) -> reqwest::Response {
        let url = self.processes[0].admin_url(path);
        let request = reqwest::Client::new().post(url).bearer_auth(self.admin_token());
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        request.send().await.unwrap()
    }

    /// Returns a token of the issuer that the system trusts.
    pub fn token(&self, user: &str, life: Duration) -> String {
        self.issuer.token(user, life).unwrap()
    }

    /// Returns a buyer, who orders the same ads as the other buyers of this marketplace.
    pub fn buyer(&self, user: &str) -> Buyer {
        self.buyer_at(user, &self.socket)
    }

    /// Returns an administrator, who can read the figures of all buyers.
    pub fn admin(&self) -> Buyer {
        let token = self.issuer.token_with_scope("root", "orders admin", Duration::from_secs(3_600)).unwrap();
        Buyer::new("root", token, &self.gateway, &self.socket)
    }

    /// Waits until `orders` orders are DELIVERED, also in the lists of their buyers, and their buyers notified of each
    /// of the four changes of status.
    pub async fn settled(&self, orders: usize, limit: Duration) {
        let delivered = "SELECT COUNT(*) FROM {s}.comms_event
            WHERE topic = 'order' AND type = 'order.delivered.v1'";
        let listed = "SELECT COUNT(*) FROM {s}.orders WHERE status = 'DELIVERED' AND sequence = 4";
        let notified = "SELECT COUNT(*) FROM {s}.notifications";
        eventually(&format!("{orders} orders are DELIVERED and their buyers notified"), limit, async || {
            let delivered = self.databases.number("order_service", delivered).await.ok()?;
            let listed = self.databases.number("order_service", listed).await.ok()?;
            let notified = self.databases.number("notification_service", notified).await.ok()?;
            (delivered.min(listed) >= orders && notified >= 4 * orders).then_some(())
        })
        .await;
    }
}

fn environment(dir: &TempDir, issuer: &DevIssuer) -> Vec<(String, String)> {
    let key = dir.path().join("public.pem");
    std::fs::write(&key, issuer.public_pem()).unwrap();
    vec![
        ("COMMS_AUTH__ISSUER".into(), "tests".into()),
        ("COMMS_AUTH__PUBLIC_KEY_FILE".into(), key.display().to_string()),
        ("COMMS_TLS__DIRECTORY".into(), dir.path().join("tls").display().to_string()),
        // A short lease, so that another relay takes over soon after a kill.
        ("COMMS_RELAY__LEASE".into(), "1500ms".into()),
        // An order is delivered soon after its payment.
        ("COMMS_ORDER__SHIPPING__DELIVERED_AFTER".into(), "100ms".into()),
    ]
}

/// Returns the identity of `service` from the development authority in `directory`, and the trust in this authority.
pub async fn certificates(directory: &Path, service: &str) -> (Identity, Trust) {
    // An error means that it is installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let authority = DevelopmentAuthority::open(directory, TRUST_DOMAIN, Clock::system()).await.unwrap();
    // The names are those of the program, which would replace the certificate otherwise.
    let identity = authority.identity(service, &["localhost", "127.0.0.1", "::1"]).await.unwrap();
    (identity, authority.trust())
}

fn processes(
    deployment: Deployment,
    dir: &TempDir,
    listeners: &[u16],
    admins: &[u16],
    env: &[(String, String)],
) -> Vec<Process> {
    let make = |name: &str, admin: u16, data: &str, args: &[&str]| {
        let mut all = Vec::new();
        for (service, port) in services::ALL.iter().zip(listeners) {
            let key = service.name.to_uppercase();
            let Some(url) = address(service, *port, has_tls(env)) else { continue };
            all.push((format!("COMMS_{key}__LISTEN"), format!("127.0.0.1:{port}")));
            if is_needed(service) {
                all.push((format!("COMMS_{key}__URL"), url));
            }
        }
        all.push(("COMMS_ADMIN__LISTEN".into(), format!("127.0.0.1:{admin}")));
        all.push(("COMMS_DATA_DIR".into(), dir.path().join(data).display().to_string()));
        all.extend_from_slice(env);
        Process::new(name, dir.path(), admin, args, all)
    };
    match deployment {
        Deployment::Embedded => vec![make("all", admins[0], "data", &[])],
        Deployment::Full => vec![make("all", admins[0], "data", &["--profile", "full"])],
        Deployment::FullByRole => services::ALL
            .iter()
            .map(|service| service.name)
            .zip(admins)
            .map(|(role, admin)| make(role, *admin, role, &["--profile", "full", "--role", role]))
            .collect(),
    }
}

/// Returns the URL of the listener of `service`, if it has one.
fn address(service: &Service, port: u16, has_tls: bool) -> Option<String> {
    let scheme = match service.protocol? {
        Protocol::Grpc if has_tls => "https",
        Protocol::Grpc | Protocol::Http => "http",
        Protocol::Sockets => "ws",
    };
    Some(format!("{scheme}://127.0.0.1:{port}"))
}

/// Returns whether the processes with the variables `env` have TLS between services.
fn has_tls(env: &[(String, String)]) -> bool {
    !env.iter().any(|(name, value)| name == "COMMS_TLS__MODE" && value == "off")
}

/// Returns whether another service calls `service`, or gives its address to clients.
fn is_needed(service: &Service) -> bool {
    let name = service.name;
    let needs = |other: &&Service| {
        other.calls.iter().any(|call| call.service == name) || other.refers_to.contains(&name)
    };
    services::ALL.iter().any(needs)
}

/// Returns `count` different ports that are free. They are below the range of outgoing connections, so that a process
/// can bind its port again after a kill.
fn free_ports(count: usize) -> Vec<u16> {
    let clock = Clock::system();
    let free = |_| loop {
        let port = 10_000 + u16::from_le_bytes(clock.random()) % 10_000;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener;
        }
    };
    let listeners: Vec<TcpListener> = (0..count).map(free).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

/// Returns `url` with the host and port of `address`.
fn via(url: &str, address: SocketAddr) -> String {
    let (head, host) = url.split_at(url.find('@').map_or("postgres://".len(), |at| at + 1));
    format!("{head}{address}{}", &host[host.find('/').unwrap()..])
}

async fn create_database(name: &str) -> String {
    let url = server("COMMS_TEST_POSTGRES_URL");
    let mut connection = PgConnection::connect(&url).await.unwrap();
    connection.execute(sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}")))).await.unwrap();
    let (base, _) = url.rsplit_once('/').unwrap();
    format!("{base}/{name}")
}
