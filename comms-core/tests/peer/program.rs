//! A program of another implementation, as a process that ends with the test. The tests of the crates share this file.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

/// The time that a program has to print a line.
const LIMIT: Duration = Duration::from_secs(30);

/// What runs a program.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Interpreter {
    Python,
    Node,
}

impl Interpreter {
    /// Returns a command that runs `script`, a file in the folder `tests/peers` of the crate under test.
    pub(crate) fn command(self, script: &str) -> Command {
        let (variable, installer) = match self {
            Self::Python => ("COMMS_TEST_PYTHON", "scripts/python"),
            Self::Node => ("COMMS_TEST_NODE", "scripts/node"),
        };
        let interpreter = std::env::var(variable).unwrap_or_else(|_| {
            panic!("{variable} is not set: run scripts/test, or export {variable}=\"$({installer})\"")
        });
        let mut command = Command::new(interpreter);
        command.arg(format!("{}/tests/peers/{script}", env!("CARGO_MANIFEST_DIR")));
        command
    }
}

/// A running program, which prints JSON and reads lines, a value on each line.
pub(crate) struct Program {
    child: Child,
    lines: Option<BufReader<ChildStdout>>,
}

impl Program {
    pub(crate) fn start(mut command: Command, arguments: &[&str]) -> Self {
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

    /// Writes a line to the standard input of the program.
    pub(crate) fn write_line(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
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
