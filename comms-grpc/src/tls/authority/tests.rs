//! The authority in a directory.

use std::{fs, path::Path};

use comms_core::ErrorKind;

use super::*;
use crate::tls::{certificate::CertificateNames, reload::Material, test_pki::install_provider};
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};

const DOMAIN: &str = "shop.test";
const DAY: Duration = Duration::from_secs(24 * 3_600);

fn clock() -> Clock {
    install_provider();
    Clock::manual(Duration::from_secs(1_700_000_000))
}

async fn open(directory: &Path, clock: &Clock) -> Result<DevelopmentAuthority, Error> {
    DevelopmentAuthority::open(directory, DOMAIN, clock.clone()).await
}

/// Returns the names in the file of a role, which is checked as a listener checks it.
fn names(directory: &Path, role: &str) -> CertificateNames {
    let pem = fs::read(directory.join(file_of(role))).unwrap();
    CertificateNames::read(&CertificateDer::from_pem_slice(&pem).unwrap()).unwrap()
}

#[tokio::test]
async fn processes_that_share_a_directory_share_the_authority_and_its_certificates() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), clock());
    let path = directory.path().join("a/b");
    let first = open(&path, &clock).await.unwrap();
    first.identity("payment", &["payment", "127.0.0.1", "::1"]).await.unwrap().0.start(&clock).unwrap();
    first.trust().0.start(&clock).unwrap();
    let found = names(&path, "payment");
    assert_eq!(found.spiffe_id.as_deref(), Some("spiffe://shop.test/payment"));
    assert_eq!(found.to_string(), "spiffe://shop.test/payment, payment, 127.0.0.1, ::1");
    assert_eq!(found.not_after, clock.unix() + 30 * DAY);
    let files = |name: &str| fs::read(path.join(name)).unwrap();
    let before = (files("ca.pem"), files("authority.pem"), files("role-payment.pem"));
    let second = open(&path, &clock).await.unwrap();
    second.identity("payment", &["payment", "127.0.0.1", "::1"]).await.unwrap();
    assert_eq!(before, (files("ca.pem"), files("authority.pem"), files("role-payment.pem")));
    // Other names need another certificate.
    second.identity("payment", &["localhost"]).await.unwrap();
    assert_eq!(names(&path, "payment").dns_names, ["localhost"]);
}

#[tokio::test]
async fn a_certificate_is_renewed_when_a_third_of_its_lifetime_is_left() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), clock());
    let path = &directory.path().join("tls");
    let authority = open(path, &clock).await.unwrap().leaf_lifetime(3 * DAY);
    authority.identity("order", &["order"]).await.unwrap();
    let first = names(path, "order");
    clock.advance(2 * DAY - Duration::from_secs(60));
    authority.identity("order", &["order"]).await.unwrap();
    assert_eq!(names(path, "order"), first);
    clock.advance(Duration::from_secs(120));
    authority.identity("order", &["order"]).await.unwrap();
    assert_eq!(names(path, "order").not_after, clock.unix() + 3 * DAY);
}

#[tokio::test]
async fn run_renews_the_certificates_of_this_process_until_shutdown() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), clock());
    let path = directory.path().join("tls");
    let authority = open(&path, &clock).await.unwrap().leaf_lifetime(3 * DAY);
    authority.identity("order", &["order"]).await.unwrap();
    let first = names(&path, "order");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let run = tokio::spawn(async move { authority.run(async { drop(stopped.await) }).await });
    while names(&path, "order") == first {
        clock.advance(MAX_PAUSE);
        tokio::task::yield_now().await;
        assert!(clock.unix() < first.not_after, "renewed before it expires");
    }
    stop.send(()).unwrap();
    run.await.unwrap();
}

/// An identity reads its file often enough for its lifetime.
#[tokio::test]
async fn a_certificate_of_seconds_is_replaced_in_use_before_it_expires() {
    install_provider();
    let (directory, clock) = (tempfile::tempdir().unwrap(), Clock::system());
    let path = directory.path().join("tls");
    let authority = open(&path, &clock).await.unwrap().leaf_lifetime(MIN_LIFETIME);
    let identity = authority.identity("order", &["order"]).await.unwrap();
    let first = names(&path, "order");
    identity.0.start(&clock).unwrap();
    let in_use = || identity.0.current().unwrap().describe();
    let before = in_use();
    let run = tokio::spawn(async move { authority.run(std::future::pending()).await });
    while in_use() == before {
        clock.sleep(Duration::from_millis(10)).await;
        assert!(clock.unix() < first.not_after, "replaced before it expires");
    }
    run.abort();
}

#[tokio::test]
async fn a_lifetime_is_limited_by_that_of_the_authority_and_applies_to_stored_certificates() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), clock());
    let path = &directory.path().join("tls");
    let authority = open(path, &clock).await.unwrap().leaf_lifetime(Duration::MAX);
    authority.identity("order", &["order"]).await.unwrap();
    assert_eq!(names(path, "order").not_after, authority.authority.end_of(Duration::MAX, &clock));
    let short = open(path, &clock).await.unwrap().leaf_lifetime(MIN_LIFETIME);
    short.identity("ad", &["ad"]).await.unwrap();
    assert_eq!(names(path, "ad").not_after, clock.unix() + MIN_LIFETIME);
    // The process that runs with the default renews at its own pace.
    open(path, &clock).await.unwrap().identity("ad", &["ad"]).await.unwrap();
    assert_eq!(names(path, "ad").not_after, clock.unix() + LIFETIME);
    // Near the end of the authority there is no longer certificate.
    clock.advance(10 * 365 * DAY - DAY);
    authority.identity("order", &["order"]).await.unwrap();
    let last = names(path, "order");
    authority.identity("order", &["order"]).await.unwrap();
    assert_eq!(names(path, "order"), last, "not issued anew at each check");
}

/// A process that dies leaves a whole file, none, or a temporary one. What is broken by hand is issued again.
#[tokio::test]
async fn broken_files_of_a_role_are_replaced() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), clock());
    let path = &directory.path().join("tls");
    let authority = open(path, &clock).await.unwrap();
    authority.identity("order", &["order"]).await.unwrap();
    authority.identity("ad", &["order"]).await.unwrap();
    let (order, ad) = (path.join("role-order.pem"), path.join("role-ad.pem"));
    let whole = fs::read_to_string(&order).unwrap();
    let of_other = fs::read_to_string(&ad).unwrap();
    let (certificate, _) = whole.split_once("-----BEGIN PRIVATE").unwrap();
    let (_, other_key) = of_other.split_once("-----BEGIN PRIVATE").unwrap();
    let mixed = format!("{certificate}-----BEGIN PRIVATE{other_key}");
    fs::write(path.join("role-order.pem.new"), "half").unwrap();
    for broken in ["", &whole[..whole.len() / 2], &of_other, &mixed] {
        fs::write(&order, broken).unwrap();
        let identity = authority.identity("order", &["order"]).await.unwrap();
        identity.0.start(&clock).unwrap();
        assert_ne!(fs::read_to_string(&order).unwrap(), broken);
    }
    // A new authority replaces the certificates of the old one.
    fs::remove_file(path.join("authority.pem")).unwrap();
    let before = fs::read_to_string(&order).unwrap();
    let authority = open(path, &clock).await.unwrap();
    authority.identity("order", &["order"]).await.unwrap();
    assert_ne!(fs::read_to_string(&order).unwrap(), before);
}

#[tokio::test]
async fn an_authority_that_cannot_be_used_is_refused_with_the_repair() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), clock());
    let path = &directory.path().join("tls");
    open(path, &clock).await.unwrap();
    let other = DevelopmentAuthority::open(path, "other.test", clock.clone()).await.unwrap_err();
    assert!(other.chain().to_string().contains("use another directory"), "{}", other.chain());
    let whole = fs::read_to_string(path.join("authority.pem")).unwrap();
    for broken in ["", &whole[..whole.len() / 4], &whole[..whole.len() * 3 / 4]] {
        fs::write(path.join("authority.pem"), broken).unwrap();
        let error = open(path, &clock).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Misconfigured);
        assert!(error.chain().to_string().contains("authority.pem"), "{}", error.chain());
        assert!(!error.chain().to_string().contains("MIG"), "no key");
    }
    fs::write(path.join("authority.pem"), whole).unwrap();
    clock.advance(11 * 365 * DAY);
    let expired = open(path, &clock).await.unwrap_err();
    assert!(expired.chain().to_string().contains("expired at"), "{}", expired.chain());
}

#[tokio::test]
async fn wrong_roles_names_and_trust_domains_are_invalid() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), clock());
    for domain in ["", "Shop", "shop/test", "shop test"] {
        let error = DevelopmentAuthority::open(directory.path(), domain, clock.clone()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{domain:?}");
    }
    let authority = open(&directory.path().join("tls"), &clock).await.unwrap();
    for role in ["", "../x", "a/b", "A", "a.b", &"a".repeat(64)] {
        assert_eq!(authority.identity(role, &[]).await.unwrap_err().kind, ErrorKind::Invalid, "{role:?}");
    }
    let error = authority.identity("order", &["ordér"]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_use_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let (directory, clock) = (tempfile::tempdir().unwrap(), clock());
    let path = directory.path().join("tls");
    let authority = open(&path, &clock).await.unwrap();
    authority.identity("order", &["order"]).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for file in fs::read_dir(&path).unwrap() {
        let file = file.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    for (target, wrong) in [(path.clone(), 0o750), (path.join("authority.pem"), 0o644)] {
        let right = mode(&target);
        fs::set_permissions(&target, fs::Permissions::from_mode(wrong)).unwrap();
        let error = open(&path, &clock).await.unwrap_err();
        assert!(error.chain().to_string().contains("chmod"), "{}", error.chain());
        fs::set_permissions(&target, fs::Permissions::from_mode(right)).unwrap();
    }
    open(&path, &clock).await.unwrap();
}

/// The lock is of the file, so that a second one in the same process is as good as another process.
#[tokio::test]
async fn a_held_lock_is_waited_for_and_reported() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), clock());
    let path = &directory.path().join("tls");
    let authority = open(path, &clock).await.unwrap();
    let held = authority.directory.lock(&clock).await.unwrap();
    let mut second = tokio::spawn({
        let (path, clock) = (path.clone(), clock.clone());
        async move { open(&path, &clock).await.map(drop) }
    });
    let error = loop {
        clock.advance(Duration::from_millis(500));
        tokio::select! {
            biased;
            ended = &mut second => break ended.unwrap().unwrap_err(),
            () = tokio::task::yield_now() => {}
        }
    };
    assert!(error.chain().to_string().contains("held the lock for 10 s"), "{}", error.chain());
    drop(held);
    open(path, &clock).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_authority_that_is_created_at_the_same_time_is_created_once() {
    let directory = tempfile::tempdir().unwrap();
    install_provider();
    let path = directory.path().join("tls");
    let mut opens = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let path = path.clone();
        opens.spawn(async move {
            let authority = DevelopmentAuthority::open(path, DOMAIN, Clock::system()).await.unwrap();
            authority.identity("order", &["order"]).await.unwrap();
            authority.authority.certificate_pem().to_owned()
        });
    }
    let pems = opens.join_all().await;
    assert!(pems.iter().all(|pem| *pem == pems[0]));
    assert_eq!(fs::read_to_string(path.join("ca.pem")).unwrap(), pems[0]);
}
