//! Programs of the Python package grpcio, as processes that end with the test.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, Stdio},
};

use comms_grpc::Channel;
use serde_json::{Value, json};

use crate::calls::LIMIT;

/// A running program that prints JSON, a value on each line.
pub(crate) struct Program {
    child: Child,
    lines: Option<BufReader<ChildStdout>>,
}

impl Program {
    fn start(script: &str, arguments: &[&str]) -> Self {
        let python = std::env::var("COMMS_TEST_PYTHON").expect(
            "COMMS_TEST_PYTHON is not set: run scripts/test, or export COMMS_TEST_PYTHON=\"$(scripts/python)\"",
        );
        let mut child = Command::new(&python)
            .arg(format!("{}/tests/peers/{script}", env!("CARGO_MANIFEST_DIR")))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("COMMS_TEST_PYTHON={python}: {e}"));
        let lines = child.stdout.take().map(BufReader::new);
        Self { child, lines }
    }

    /// Returns the next value that the program prints.
    pub(crate) async fn next(&mut self) -> Value {
        let mut lines = self.lines.take().expect("the output of the program");
        let read = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            (line, lines)
        });
        let (line, lines) = tokio::time::timeout(LIMIT, read).await.expect("the program prints").unwrap();
        self.lines = Some(lines);
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("the program has failed: {e}: {line:?}"))
    }

    /// Kills the program with SIGKILL and waits for its end.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A program that has ended cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server of grpcio.
pub(crate) struct Server {
    pub(crate) program: Program,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts a server with these channel arguments of grpcio.
    pub(crate) async fn start(options: Value) -> Self {
        Self::start_on(0, options).await
    }

    pub(crate) async fn start_on(port: u16, options: Value) -> Self {
        let mut program =
            Program::start("grpcio_server.py", &[&format!("127.0.0.1:{port}"), &options.to_string()]);
        let port = program.next().await["port"].as_u64().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()));
        Self { program, address }
    }

    /// Returns a channel to the server, with the settings that the library has by default.
    pub(crate) fn channel(&self) -> Channel {
        Channel::builder(format!("http://{}", self.address)).peer("grpcio").timeout(LIMIT).build().unwrap()
    }
}

/// Starts a client that makes `call` to the server at `address` and prints the results.
pub(crate) fn client(address: SocketAddr, what: &str, call: Value) -> Program {
    Program::start("grpcio_client.py", &[&address.to_string(), what, &call.to_string()])
}

/// Makes one call with a client of grpcio, and returns its result.
pub(crate) async fn call(address: SocketAddr, call: Value) -> Value {
    client(address, "unary", call).next().await
}

/// Returns a call with `request` for [`call`].
pub(crate) fn asking(request: Value) -> Value {
    json!({ "request": request })
}
