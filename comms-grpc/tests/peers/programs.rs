//! The programs of the peers, as processes that end with the test.

use std::{
    io::{BufRead, BufReader, Write},
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

/// Another implementation of gRPC.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// The Python package grpcio, built on the C core.
    Grpcio,
    /// The npm package @grpc/grpc-js.
    GrpcJs,
}

impl Kind {
    /// Returns a command that runs the program of the server or of the client.
    fn command(self, mode: &str) -> Command {
        let (variable, installer, script) = match self {
            Self::Grpcio => ("COMMS_TEST_PYTHON", "scripts/python", format!("grpcio_{mode}.py")),
            Self::GrpcJs => ("COMMS_TEST_NODE", "scripts/node", "grpc_js.cjs".to_owned()),
        };
        let interpreter = std::env::var(variable).unwrap_or_else(|_| {
            panic!("{variable} is not set: run scripts/test, or export {variable}=\"$({installer})\"")
        });
        let mut command = Command::new(interpreter);
        command.arg(format!("{}/tests/peers/{script}", env!("CARGO_MANIFEST_DIR")));
        if matches!(self, Self::GrpcJs) {
            command.arg(mode);
        }
        command
    }
}

impl Program {
    fn start(mut command: Command, arguments: &[&str]) -> Self {
        let mut child = command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
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

    /// Writes a line to the standard input of the program.
    pub(crate) fn write_line(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
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

/// A server of a peer.
pub(crate) struct Server {
    pub(crate) program: Program,
    pub(crate) address: SocketAddr,
}

impl Kind {
    /// Starts a server with these channel arguments.
    pub(crate) async fn server(self, options: Value) -> Server {
        self.server_on(0, options).await
    }

    pub(crate) async fn server_on(self, port: u16, options: Value) -> Server {
        let arguments = [format!("127.0.0.1:{port}"), options.to_string()];
        let mut program = Program::start(self.command("server"), &arguments.each_ref().map(String::as_str));
        let port = program.next().await["port"].as_u64().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()));
        Server { program, address }
    }

    /// Starts a client that makes `call` to the server at `address` and prints the results.
    pub(crate) fn client(self, address: SocketAddr, what: &str, call: Value) -> Program {
        Program::start(self.command("client"), &[&address.to_string(), what, &call.to_string()])
    }

    /// Makes one call with a client of the peer, and returns its result.
    pub(crate) async fn call(self, address: SocketAddr, call: Value) -> Value {
        self.client(address, "unary", call).next().await
    }
}

impl Server {
    /// Returns a channel to the server, with the settings that the library has by default.
    pub(crate) fn channel(&self) -> Channel {
        Channel::builder(format!("http://{}", self.address)).peer("peer").timeout(LIMIT).build().unwrap()
    }
}

impl Server {
    /// Returns a channel whose calls have one attempt and no guards.
    pub(crate) fn bare_channel(&self) -> Channel {
        Channel::builder(format!("http://{}", self.address)).without_policy().timeout(LIMIT).build().unwrap()
    }
}

/// Returns a call with `request` for [`Kind::call`].
pub(crate) fn asking(request: Value) -> Value {
    json!({ "request": request })
}
