//! The programs of the peers: clients and servers of other implementations.

use std::{net::SocketAddr, process::Command};

use comms_grpc::Channel;
use serde_json::{Value, json};

use crate::{
    calls::LIMIT,
    program::{Interpreter, Program},
};

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
        match self {
            Self::Grpcio => Interpreter::Python.command(&format!("grpcio_{mode}.py")),
            Self::GrpcJs => {
                let mut command = Interpreter::Node.command("grpc_js.cjs");
                command.arg(mode);
                command
            }
        }
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
