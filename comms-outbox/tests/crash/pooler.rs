//! PgBouncer in transaction mode.

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use sqlx::postgres::PgConnectOptions;

use crate::{
    cluster::{Cluster, Folder, options},
    process::{command, free_port, signal},
};

const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// A running PgBouncer. Dropping it kills its process.
pub struct Pooler {
    pub port: u16,
    process: Child,
}

impl Pooler {
    /// Starts a pooler in front of `cluster`. With `round_robin` each transaction runs on another server connection
    /// than the one before it, if there are several.
    pub async fn start(folder: &Folder, cluster: &Cluster, round_robin: bool) -> Self {
        assert!(
            Path::new(PROGRAM).exists(),
            "{PROGRAM} is missing: run scripts/test, or apt-get install pgbouncer"
        );
        let (port, ini) = (free_port(), folder.path("pgbouncer.ini"));
        let settings = format!(
            "[databases]
             postgres = host=127.0.0.1 port={} dbname=postgres user=postgres
             [pgbouncer]
             listen_addr = 127.0.0.1
             listen_port = {port}
             unix_socket_dir =
             auth_type = any
             pool_mode = transaction
             ignore_startup_parameters = extra_float_digits
             default_pool_size = 5
             max_client_conn = 100
             server_login_retry = 0.1
             server_round_robin = {}
             logfile = {}
             ",
            cluster.port,
            u8::from(round_robin),
            folder.path("pgbouncer.log").display()
        );
        let trimmed: Vec<_> = settings.lines().map(str::trim).collect();
        fs::write(&ini, trimmed.join("\n")).unwrap();
        let mut program = command(Path::new(PROGRAM));
        program.arg("-q").arg(ini).stdout(Stdio::null()).stderr(Stdio::null());
        let pooler = Self { port, process: program.spawn().unwrap() };
        let limit = Instant::now() + Duration::from_secs(10);
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(Instant::now() < limit, "PgBouncer does not listen after 10 s");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        pooler
    }

    /// Returns the connection options for a client.
    pub fn options(&self) -> PgConnectOptions {
        options(self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        signal("KILL", &[self.process.id()]);
        let _ = self.process.wait();
    }
}
