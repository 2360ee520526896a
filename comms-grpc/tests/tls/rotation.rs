//! Certificates and authorities that are replaced while calls run.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use comms_grpc::tls::{Identity, ServerTls, Trust};
use tokio::{net::TcpStream, task::JoinSet};
use tokio_rustls::rustls;

use crate::support::{Client, Leaf, Pki, Server, eventually, get_text, http2_only, log::Log, now};

/// The interval at which the files are read.
const POLL: Duration = Duration::from_millis(20);

fn write(directory: &Path, leaf: &Leaf) {
    replace(directory.join("tls.crt"), &leaf.certificate);
    replace(directory.join("tls.key"), &leaf.key);
}

/// Replaces a file at once: a reader never sees a part of it.
fn replace(path: PathBuf, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

fn watched(directory: &Path) -> ServerTls {
    let identity = Identity::from_pem_files(directory.join("tls.crt"), directory.join("tls.key"));
    ServerTls::new(identity.check_every(POLL))
        .client_trust(Trust::from_pem_file(directory.join("ca.crt")).check_every(POLL))
}

/// Calls that run all the time: some on one connection, some on a new connection each.
struct Load {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Load {
    /// Starts callers that read their trust and certificate from `client` before each connection.
    fn start(address: std::net::SocketAddr, client: Arc<std::sync::Mutex<Client>>) -> Self {
        let (stop, calls) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut tasks = JoinSet::new();
        for keeps_connection in [true, true, false, false] {
            let (stop, calls, client) = (stop.clone(), calls.clone(), client.clone());
            tasks.spawn(async move {
                while !stop.load(SeqCst) {
                    let current = client.lock().unwrap().clone();
                    let (http2, _connection) = current.http2(address, 65_535).await;
                    loop {
                        assert_eq!(get_text(&http2, "/id").await.unwrap(), "id: spiffe://shop.test/order");
                        calls.fetch_add(1, SeqCst);
                        if !keeps_connection || stop.load(SeqCst) {
                            break;
                        }
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            });
        }
        Self { stop, calls, tasks }
    }

    /// Waits until more calls have succeeded.
    async fn proceed(&self) {
        let before = self.calls.load(SeqCst);
        eventually("calls succeed", || self.calls.load(SeqCst) > before + 50).await;
    }

    async fn end(mut self) {
        self.stop.store(true, SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("no call failed");
        }
    }
}

/// The steps of the guide: trust both, replace certificates, trust the new one alone. No call fails.
#[tokio::test]
async fn a_certificate_and_its_authority_are_replaced_under_load_without_a_failed_call() {
    let (old, new) = (Pki::new("old"), Pki::new("new"));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    write(path, &old.leaf("payment"));
    fs::write(path.join("ca.crt"), &old.pem).unwrap();
    let (log, _guard) = Log::record();
    let server = Server::with_tls(watched(path), http2_only).await;
    let client = Arc::new(std::sync::Mutex::new(Client::new(&old, old.leaf("order"))));
    let load = Load::start(server.address, client.clone());
    let replaced = |count: usize| {
        let log = log.clone();
        async move { log.wait_for("message=replaced for TLS", count).await }
    };
    load.proceed().await;
    // 1. Every side trusts both authorities.
    let both = format!("{}{}", old.pem, new.pem);
    fs::write(path.join("ca.crt"), &both).unwrap();
    client.lock().unwrap().trust = both;
    replaced(1).await;
    load.proceed().await;
    // 2. Every side gets a certificate of the new authority. Callers that already connect may use the old one.
    write(path, &new.leaf("payment"));
    client.lock().unwrap().leaf = Some(new.leaf("order"));
    replaced(2).await;
    load.proceed().await;
    // 3. The old authority is removed.
    fs::write(path.join("ca.crt"), &new.pem).unwrap();
    client.lock().unwrap().trust = new.pem.clone();
    replaced(3).await;
    load.proceed().await;
    load.end().await;
    let refusal = Client { trust: new.pem.clone(), ..Client::new(&old, old.leaf("order")) };
    let refusal = refusal.refusal(server.address).await;
    assert!(refusal.contains("UnknownCA"), "{refusal}");
}

/// A shortened handshake would not check the certificate again.
#[tokio::test]
async fn no_session_is_resumed() {
    let pki = Pki::new("a");
    let server = Server::mutual(&pki, http2_only).await;
    for version in rustls::ALL_VERSIONS {
        let mut client = Client::new(&pki, pki.leaf("order"));
        client.versions = vec![version];
        let session_store = client.connector();
        for _ in 0..3 {
            let socket = TcpStream::connect(server.address).await.unwrap();
            let name = "localhost".try_into().unwrap();
            let stream = session_store.connect(name, socket).await.unwrap();
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full));
            let (http2, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            get_text(&http2, "/id").await.unwrap();
        }
    }
}

/// A certificate whose authority was removed is refused at the next handshake.
#[tokio::test]
async fn a_removed_authority_is_refused_at_once_and_open_connections_stay() {
    let (old, new) = (Pki::new("old"), Pki::new("new"));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    write(path, &new.leaf("payment"));
    fs::write(path.join("ca.crt"), format!("{}{}", old.pem, new.pem)).unwrap();
    let (log, _guard) = Log::record();
    let server = Server::with_tls(watched(path), http2_only).await;
    let client = Client { trust: new.pem.clone(), ..Client::new(&old, old.leaf("order")) };
    let (open, _connection) = client.http2(server.address, 65_535).await;
    get_text(&open, "/id").await.unwrap();
    fs::write(path.join("ca.crt"), &new.pem).unwrap();
    log.wait_for("message=replaced for TLS", 1).await;
    let refusal = client.refusal(server.address).await;
    assert!(refusal.contains("UnknownCA"), "{refusal}");
    assert_eq!(get_text(&open, "/id").await.unwrap(), "id: spiffe://shop.test/order");
}

/// No broken file takes the listener down: the last usable certificate stays, and each change is reported once.
#[tokio::test]
async fn broken_files_keep_the_last_certificate_and_are_reported_once() {
    let pki = Pki::new("a");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    write(path, &pki.leaf("payment"));
    fs::write(path.join("ca.crt"), &pki.pem).unwrap();
    let (log, _guard) = Log::record();
    let server = Server::with_tls(watched(path), http2_only).await;
    let client = Client::new(&pki, pki.leaf("order"));
    let next = pki.leaf("payment");
    let expired = pki.leaf_with("payment", |p| p.not_after = now() - time::Duration::seconds(1));
    let faults: [(&str, &dyn Fn()); 5] = [
        ("the key does not fit", &|| replace(path.join("tls.crt"), &next.certificate)),
        ("cannot read", &|| fs::remove_file(path.join("tls.key")).unwrap()),
        ("BEGIN PRIVATE KEY", &|| replace(path.join("tls.key"), &next.key[..next.key.len() / 2])),
        ("expired at", &|| write(path, &expired)),
        ("BEGIN CERTIFICATE", &|| replace(path.join("tls.crt"), "")),
    ];
    for (text, fault) in faults {
        fault();
        log.wait_for(text, 1).await;
        let reports = log.lines("not replaced for TLS").len();
        tokio::time::sleep(POLL * 5).await;
        assert_eq!(log.lines("not replaced for TLS").len(), reports, "one report for each change");
        assert_eq!(client.get(server.address, "/id").await, "id: spiffe://shop.test/order");
    }
    assert!(log.lines("PRIVATE KEY-----").is_empty(), "no key is logged");
    write(path, &next);
    log.wait_for("message=replaced for TLS", 1).await;
}

/// A volume of Kubernetes replaces all files at once, by a symbolic link to another folder.
#[cfg(unix)]
#[tokio::test]
async fn a_replaced_symbolic_link_is_followed() {
    use std::os::unix::fs::symlink;
    let pki = Pki::new("a");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    for (folder, leaf) in [("one", pki.leaf("payment")), ("two", pki.leaf("payment-2"))] {
        fs::create_dir(path.join(folder)).unwrap();
        write(&path.join(folder), &leaf);
        fs::write(path.join(folder).join("ca.crt"), &pki.pem).unwrap();
    }
    symlink("one", path.join("..data")).unwrap();
    for file in ["tls.crt", "tls.key", "ca.crt"] {
        symlink(Path::new("..data").join(file), path.join(file)).unwrap();
    }
    let (log, _guard) = Log::record();
    let server = Server::with_tls(watched(path), http2_only).await;
    symlink("two", path.join("..data_tmp")).unwrap();
    fs::rename(path.join("..data_tmp"), path.join("..data")).unwrap();
    eventually("the files are used", || {
        log.lines("message=replaced for TLS").iter().any(|l| l.contains("payment-2"))
    })
    .await;
    assert!(!log.has("not replaced"), "{:?}", log.lines("not replaced"));
    let client = Client::new(&pki, pki.leaf("order"));
    assert_eq!(client.get(server.address, "/id").await, "id: spiffe://shop.test/order");
}
