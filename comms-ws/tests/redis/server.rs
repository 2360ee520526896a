//! Servers of single tests, and nodes that use them.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use comms_core::clock::Clock;
use comms_ws::backplane::{Redis, RedisConfig};
use redis::aio::MultiplexedConnection;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::{node::Node, running::run};

/// A server on loopback with a directory of its own. Dropping it kills it.
pub(crate) struct Server {
    pub(crate) directory: TempDir,
    pub(crate) port: u16,
    pub(crate) options: Vec<String>,
    /// The content of the configuration file of a Sentinel. Other servers have none.
    pub(crate) file: Option<String>,
    process: Option<Child>,
}

impl Server {
    /// Starts a server with further options, such as `--appendonly yes`.
    pub(crate) async fn start(options: &[&str]) -> Self {
        let mut server = Self::stopped(options);
        server.restart().await;
        server
    }

    pub(crate) fn stopped(options: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let options = options.iter().map(ToString::to_string).collect();
        Self { directory: TempDir::new().unwrap(), port, options, file: None, process: None }
    }

    pub(crate) async fn restart(&mut self) {
        self.launch();
        while self.try_client().await.is_none() {
            assert!(self.process.as_mut().unwrap().try_wait().unwrap().is_none(), "the server ended");
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn launch(&mut self) {
        let mut command = Command::new("redis-server");
        if let Some(file) = &self.file {
            let path = self.directory.path().join("redis.conf");
            std::fs::write(&path, file).unwrap();
            command.arg(path);
        } else {
            let port = self.port.to_string();
            command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--dir"]);
            command.arg(self.directory.path());
        }
        let process = command.args(&self.options).stdout(Stdio::null()).spawn();
        self.process =
            Some(process.expect("redis-server is not installed: run scripts/services start redis"));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(self.process.as_ref().unwrap());
        kill_process(pid, signal).unwrap();
    }

    /// Kills the server as a crash does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    async fn try_client(&self) -> Option<MultiplexedConnection> {
        let mut client =
            redis::Client::open(self.url()).unwrap().get_multiplexed_async_connection().await.ok()?;
        let answer: Result<String, _> = redis::cmd("PING").query_async(&mut client).await;
        answer.is_ok().then_some(client)
    }

    pub(crate) async fn client(&self) -> MultiplexedConnection {
        self.try_client().await.unwrap()
    }

    pub(crate) fn config(&self) -> RedisConfig {
        config(&self.url())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The address of the shared server.
pub(crate) fn shared_url() -> String {
    std::env::var("COMMS_TEST_REDIS_URL")
        .expect("COMMS_TEST_REDIS_URL is not set: run scripts/test, or eval \"$(scripts/services env)\"")
}

/// Returns settings with a prefix of their own, short waits between attempts, and limits for a machine that is busy.
pub(crate) fn config(url: &str) -> RedisConfig {
    let backoff = comms_core::resilience::Backoff::new(Duration::from_millis(10), Duration::from_millis(100));
    let config =
        RedisConfig::new([url]).prefix(Clock::system().uuid_v7().to_string()).backoff(backoff.unwrap());
    config.response_timeout(Duration::from_secs(20)).connect_timeout(Duration::from_secs(20))
}

/// Starts a node, which runs until the end of the test.
pub(crate) fn node(config: RedisConfig) -> Node {
    let redis = Redis::new(config, Clock::system()).unwrap();
    let node = Node::new(Arc::new(redis.clone()));
    run(redis);
    node
}
