//! The three shapes in which the same marketplace runs.

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    time::Duration,
};

use comms_core::clock::Clock;
use reference_app::{
    platform::{config::Auth, identity::DevIssuer, service::Service},
    services,
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tempfile::TempDir;

use super::{Books, Buyer, Process, eventually, server};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One process, SQLite, delivery by the relay.
    Embedded,
    /// One process, PostgreSQL and Kafka.
    Full,
    /// A process per role, PostgreSQL and Kafka; in the order of [`services::ALL`].
    FullByRole,
}

pub struct Marketplace {
    pub shape: Shape,
    pub processes: Vec<Process>,
    pub gateway: String,
    pub socket: String,
    pub books: Books,
    /// What stands before its topics and groups on the cluster.
    pub prefix: String,
    issuer: DevIssuer,
    dir: TempDir,
}

impl Marketplace {
    /// Starts it, with databases and topics of its own, and waits until it is ready.
    pub async fn start(shape: Shape) -> Self {
        Self::start_with(shape, &[]).await
    }

    /// The same with more environment variables, which have the last word; an empty one takes the variable away.
    pub async fn start_with(shape: Shape, more: &[(&str, &str)]) -> Self {
        let mut marketplace = Self::spawn_with(shape, more).await;
        marketplace.ready().await;
        marketplace
    }

    /// The same without waiting until it is ready.
    pub async fn spawn_with(shape: Shape, more: &[(&str, &str)]) -> Self {
        Self::spawn_via(shape, None, more).await
    }

    /// The same with PostgreSQL at another address for the processes.
    pub async fn spawn_via(shape: Shape, postgres: Option<SocketAddr>, more: &[(&str, &str)]) -> Self {
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
        let books = match shape {
            Shape::Embedded => Books::sqlite(dir.path().join("data")),
            Shape::Full | Shape::FullByRole => {
                let url = create_database(&name).await;
                env.extend([
                    ("COMMS_DATABASE__URL".into(), postgres.map_or_else(|| url.clone(), |at| via(&url, at))),
                    ("COMMS_KAFKA__BROKERS".into(), server("COMMS_TEST_KAFKA_BROKERS")),
                    ("COMMS_KAFKA__PREFIX".into(), prefix.clone()),
                    ("COMMS_KAFKA__REPLICATION_FACTOR".into(), "1".into()),
                ]);
                Books::postgres(url)
            }
        };
        env.retain(|(name, _)| !more.contains(&(name, "")));
        let set = more.iter().filter(|(_, value)| !value.is_empty());
        env.extend(set.map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        let ports = free_ports(2 * services::ALL.len());
        let (listeners, admins) = ports.split_at(services::ALL.len());
        let url = |name: &str| {
            let mut all = services::ALL.iter().zip(listeners);
            let (service, port) = all.find(|(service, _)| service.name == name).unwrap();
            address(service, *port).unwrap()
        };
        let mut marketplace = Self {
            shape,
            processes: processes(shape, &dir, listeners, admins, &env),
            gateway: url("gateway"),
            socket: url("notification"),
            books,
            prefix,
            issuer,
            dir,
        };
        for process in &mut marketplace.processes {
            process.spawn();
        }
        marketplace
    }

    pub async fn ready(&mut self) {
        for process in &mut self.processes {
            process.ready().await;
        }
    }

    /// The process of `role`: in [`Shape::FullByRole`].
    pub fn process(&self, role: &str) -> &Process {
        self.processes.iter().find(|process| process.name == role).unwrap()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The token of the admin listener, which embedded makes at its first start.
    pub fn admin_token(&self) -> String {
        std::fs::read_to_string(self.data_dir().join("admin-token")).unwrap()
    }

    /// An operation of the first process's admin listener, with its token.
    pub async fn operate(&self, path: &str, body: Option<&serde_json::Value>) -> reqwest::Response {
        let url = self.processes[0].admin_url(path);
        let request = reqwest::Client::new().post(url).bearer_auth(self.admin_token());
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        request.send().await.unwrap()
    }

    /// A token by the issuer that this system believes.
    pub fn token(&self, user: &str, life: Duration) -> String {
        self.issuer.token(user, life).unwrap()
    }

    pub fn buyer(&self, user: &str) -> Buyer {
        Buyer::new(user, self.token(user, Duration::from_secs(3_600)), &self.gateway, &self.socket)
    }

    /// Everything that was asked of it is in the books.
    pub async fn settled(&self, orders: usize, limit: Duration) {
        eventually(&format!("{orders} orders are PAID and their buyers told"), limit, async || {
            let counts = self.books.counts().await.ok()?;
            (counts.paid >= orders && counts.notifications >= 2 * orders).then_some(())
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
        // A killed relay's lease is short, so that many kills fit into one test.
        ("COMMS_RELAY__LEASE".into(), "1500ms".into()),
    ]
}

fn processes(
    shape: Shape,
    dir: &TempDir,
    listeners: &[u16],
    admins: &[u16],
    env: &[(String, String)],
) -> Vec<Process> {
    let make = |name: &str, admin: u16, data: &str, args: &[&str]| {
        let mut all = Vec::new();
        for (service, port) in services::ALL.iter().zip(listeners) {
            let key = service.name.to_uppercase();
            let Some(url) = address(service, *port) else { continue };
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
    match shape {
        Shape::Embedded => vec![make("all", admins[0], "data", &[])],
        Shape::Full => vec![make("all", admins[0], "data", &["--profile", "full"])],
        Shape::FullByRole => services::ALL
            .iter()
            .map(|service| service.name)
            .zip(admins)
            .map(|(role, admin)| make(role, *admin, role, &["--profile", "full", "--role", role]))
            .collect(),
    }
}

/// The URL of the listener of `service`, if it has one.
fn address(service: &Service, port: u16) -> Option<String> {
    Some(format!("{}://127.0.0.1:{port}", service.protocol?.scheme()))
}

/// Whether another service calls `service`, or gives its address to clients.
fn is_needed(service: &Service) -> bool {
    let name = service.name;
    let needs = |other: &&Service| {
        other.calls.iter().any(|call| call.service == name) || other.refers_to.contains(&name)
    };
    services::ALL.iter().any(needs)
}

/// `count` ports that were free a moment ago, held together so that they differ. Below the range from which the
/// system takes ports for connections: a process that is killed and comes back must find its own again.
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

/// `url` with the host and port of `address`.
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
