//! The programs of the peers, as processes that end with the test.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::Value;

use crate::support::LIMIT;

/// Another implementation.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    NpmWs,
    NpmEventSource,
    /// The Python package websockets.
    Websockets,
}

impl Kind {
    fn command(self) -> Command {
        let (variable, installer, script) = match self {
            Self::NpmWs => ("COMMS_TEST_NODE", "scripts/node", "ws.cjs"),
            Self::NpmEventSource => ("COMMS_TEST_NODE", "scripts/node", "eventsource.cjs"),
            Self::Websockets => ("COMMS_TEST_PYTHON", "scripts/python", "websockets_client.py"),
        };
        let interpreter = std::env::var(variable).unwrap_or_else(|_| {
            panic!("{variable} is not set: run scripts/test, or export {variable}=\"$({installer})\"")
        });
        let mut command = Command::new(interpreter);
        command.arg(format!("{}/tests/peers/{script}", env!("CARGO_MANIFEST_DIR")));
        command
    }
}

/// A running client, which prints JSON and reads commands in JSON, a value on each line.
pub(crate) struct Program {
    child: Child,
    lines: Option<BufReader<ChildStdout>>,
}

impl Program {
    pub(crate) fn start(kind: Kind, arguments: &[&str]) -> Self {
        let mut command = kind.command();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
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
        writeln!(self.child.stdin.as_mut().unwrap(), "{command}").unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A program that has ended cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
