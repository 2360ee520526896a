//! The clients of other implementations.

use serde_json::Value;

use crate::program::{Interpreter, Program};

/// Another implementation.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    NpmWs,
    NpmEventSource,
    /// The Python package websockets.
    Websockets,
}

/// A running client, which prints JSON and reads commands in JSON, a value on each line.
pub(crate) struct Client(Program);

impl Client {
    pub(crate) fn start(kind: Kind, arguments: &[&str]) -> Self {
        let command = match kind {
            Kind::NpmWs => Interpreter::Node.command("ws.cjs"),
            Kind::NpmEventSource => Interpreter::Node.command("eventsource.cjs"),
            Kind::Websockets => Interpreter::Python.command("websockets_client.py"),
        };
        Self(Program::start(command, arguments))
    }

    /// Returns the next value that the client prints.
    pub(crate) async fn next(&mut self) -> Value {
        self.0.next().await
    }

    /// Returns the value of the next line with the field `name`. Lines before it are skipped.
    pub(crate) async fn next_of(&mut self, name: &str) -> Value {
        loop {
            let line = self.next().await;
            if let Some(value) = line.get(name) {
                return value.clone();
            }
        }
    }

    /// Returns the next frame of the server.
    pub(crate) async fn frame(&mut self) -> Value {
        self.next_of("frame").await
    }

    pub(crate) fn command(&mut self, command: Value) {
        self.0.write_line(&command.to_string());
    }
}
