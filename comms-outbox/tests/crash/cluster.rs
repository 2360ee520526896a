//! A PostgreSQL cluster of one test, which crashes, copies, promotes and restores it.

use std::{
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    process::Child,
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use tempfile::TempDir;

use crate::{
    process::{children, command, free_port, is_root, postgres_program, run, signal, title, wait_gone},
    rng::Rng,
};

/// A slow WAL writer leaves more unflushed WAL for a crash to lose. Socket files are off, because a killed server would
/// leave their lock.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = on
full_page_writes = on
synchronous_commit = on
wal_level = replica
wal_writer_delay = 2s
wal_buffers = 16MB
wal_keep_size = 512MB
max_wal_senders = 8
checkpoint_timeout = 30s
max_prepared_transactions = 100
max_connections = 100
shared_buffers = 64MB
hot_standby = on
";

/// A directory that the account of the servers can write to. It is removed at the end.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        let bases = [PathBuf::from(env!("CARGO_TARGET_TMPDIR")), std::env::temp_dir(), "/var/tmp".into()];
        let folder = bases.iter().find_map(|base| Self::within(base));
        folder.expect("the account 'postgres' can reach no folder for its data")
    }

    /// The account `postgres` cannot reach a clone of the repository in a closed directory.
    fn within(base: &Path) -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("crash-").tempdir_in(base).ok()?;
        if is_root() {
            run(std::process::Command::new("chown").arg("postgres:postgres").arg(folder.path()));
        }
        let writable = command(Path::new("test")).arg("-w").arg(folder.path()).status().ok()?;
        writable.success().then_some(Self(folder))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// A cluster, running or not. Dropping it kills its processes.
pub struct Cluster {
    data: PathBuf,
    pub port: u16,
    server: Option<Child>,
}

impl Cluster {
    /// Creates and starts a cluster.
    pub async fn create(folder: &Folder, name: &str) -> Self {
        let data = folder.path(name);
        let initdb = &mut command(&postgres_program("initdb"));
        run(initdb.arg("-D").arg(&data).args([
            "-A",
            "trust",
            "-U",
            "postgres",
            "-E",
            "UTF8",
            "--locale=C",
            "-N",
        ]));
        let conf = fs::read_to_string(data.join("postgresql.conf")).unwrap();
        fs::write(data.join("postgresql.conf"), conf + SETTINGS).unwrap();
        let mut cluster = Self { data, port: free_port(), server: None };
        cluster.start(&[]);
        cluster.up().await;
        cluster
    }

    /// Copies this cluster without a start: for a standby that follows it, or as a backup.
    pub fn copy(&self, folder: &Folder, name: &str, standby: bool) -> Self {
        let data = folder.path(name);
        let _ = fs::remove_dir_all(&data);
        let port = self.port.to_string();
        let mut backup = command(&postgres_program("pg_basebackup"));
        backup.args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-c", "fast", "-N", "-D"]).arg(&data);
        run(if standby { backup.arg("-R") } else { &mut backup });
        Self { data, port: free_port(), server: None }
    }

    /// Starts the server with more settings (`name=value`), and does not wait for it.
    pub fn start(&mut self, settings: &[&str]) {
        let log = OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let mut postgres = command(&postgres_program("postgres"));
        postgres.arg("-D").arg(&self.data).args(["-p", &self.port.to_string()]);
        postgres.args(settings.iter().flat_map(|setting| ["-c", *setting]));
        postgres.stdout(log.try_clone().unwrap()).stderr(log);
        self.server = Some(postgres.spawn().unwrap());
    }

    /// Starts the server from the WAL that `source` left, up to `lsn`, and promotes it there.
    pub fn start_at(&mut self, source: &Self, lsn: &str) {
        let signal = self.data.join("recovery.signal");
        File::create(&signal).unwrap();
        let restore = format!("restore_command=cp '{}/pg_wal/%f' '%p'", source.data.display());
        let target = format!("recovery_target_lsn={lsn}");
        if is_root() {
            run(std::process::Command::new("chown").arg("postgres:postgres").arg(signal));
        }
        self.start(&[&restore, &target, "recovery_target_action=promote"]);
    }

    fn log(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    fn pid(&self) -> u32 {
        self.server.as_ref().expect("the server is not running").id()
    }

    pub fn options(&self) -> PgConnectOptions {
        options(self.port)
    }

    /// Waits until the server accepts writes.
    pub async fn up(&mut self) {
        self.wait("SELECT NOT pg_is_in_recovery()").await;
    }

    /// Waits until `condition` is true. Errors are ignored, because the server may not be up yet.
    pub async fn wait(&mut self, condition: &str) {
        let limit = Instant::now() + Duration::from_secs(30);
        loop {
            if let Ok(mut conn) = self.options().connect().await
                && let Ok(true) =
                    sqlx::query_scalar(AssertSqlSafe(condition.to_owned())).fetch_one(&mut conn).await
            {
                let _ = conn.close().await;
                return;
            }
            let ended = self.server.as_mut().and_then(|server| server.try_wait().unwrap());
            let log = || fs::read_to_string(self.log()).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < limit, "{condition}: {ended:?}\n{}", log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn connect(&self) -> PgConnection {
        self.options().connect().await.unwrap()
    }

    /// Sends SIGKILL to the server and its children, as if the machine stopped.
    pub fn kill(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        // The server is stopped first, or it would start another child meanwhile.
        signal("STOP", &[server.id()]);
        let mut pids = children(server.id());
        pids.push(server.id());
        signal("KILL", &pids);
        server.wait().unwrap();
        wait_gone(&pids);
        // The system may have given the process id to another process. Then the server would refuse to start.
        let _ = fs::remove_file(self.data.join("postmaster.pid"));
    }

    /// Sends SIGKILL to one child. The server resets the shared memory and recovers, and its start time stays.
    pub async fn kill_child(&self, rng: &Rng) {
        let checkpointer = self.child("checkpointer");
        // If the child has ended before the signal, the server continues, and another child is chosen.
        while self.child("checkpointer") == checkpointer {
            signal("KILL", &[*rng.pick(&children(self.pid()))]);
            tokio::time::sleep(Duration::from_millis(30)).await;
            self.continue_wal_writer();
        }
    }

    /// Shuts down immediately: no process flushes its data.
    pub async fn stop_immediately(&mut self) {
        signal("QUIT", &[self.pid()]);
        tokio::time::sleep(Duration::from_millis(30)).await;
        self.continue_wal_writer();
        self.server.take().unwrap().wait().unwrap();
    }

    fn child(&self, name: &str) -> Vec<u32> {
        children(self.pid()).into_iter().filter(|pid| title(*pid).contains(name)).collect()
    }

    /// Unflushed WAL stays in shared memory, so killing the server loses as much as a power failure.
    pub fn stop_wal_writer(&self) {
        signal("STOP", &self.child("walwriter"));
    }

    pub fn continue_wal_writer(&self) {
        signal("CONT", &self.child("walwriter"));
    }

    /// From here on standbys receive no WAL.
    pub fn stop_wal_senders(&self) {
        signal("STOP", &self.child("walsender"));
    }

    pub async fn promote(&mut self) {
        let mut conn = self.connect().await;
        let promoted: Result<bool, _> =
            sqlx::query_scalar("SELECT pg_promote(true, 30)").fetch_one(&mut conn).await;
        assert!(promoted.unwrap(), "the standby was not promoted within 30 s");
        self.up().await;
    }

    /// Returns the next transaction id after the last recovery from the control file, because writers may have used it
    /// by now.
    pub fn recovered_xid(&self) -> u64 {
        let control = run(command(&postgres_program("pg_controldata")).arg("-D").arg(&self.data));
        let line = control.lines().find(|line| line.contains("NextXID")).unwrap();
        line.rsplit(':').next().unwrap().trim().parse().unwrap()
    }

    /// Returns the current next transaction id.
    pub async fn next_xid(&self) -> u64 {
        next_xid(&mut self.connect().await).await
    }
}

pub async fn next_xid(conn: &mut PgConnection) -> u64 {
    let xmax = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text";
    let text: String = sqlx::query_scalar(xmax).fetch_one(conn).await.unwrap();
    text.parse().unwrap()
}

/// Returns the connection options for the server, pooler or forwarder at `port`.
pub fn options(port: u16) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(port)
        .username("postgres")
        .database("postgres")
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
    }
}
