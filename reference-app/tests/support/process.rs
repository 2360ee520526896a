//! A process of the system: start, readiness, signals and log.

use std::{
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use super::eventually;

pub struct Process {
    pub name: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    log: PathBuf,
    admin: u16,
    /// A script for `sh` that runs the program as `"$0" "$@"`.
    shell: Option<String>,
    child: Option<Child>,
}

impl Process {
    /// Returns the command of the program, without the settings in the environment of the tests.
    pub fn program() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reference-app"));
        clean(&mut command);
        command
    }

    /// From the next start, runs the program by a script for `sh`, in which `"$0" "$@"` is the command.
    pub fn run_by(&mut self, script: &str) {
        self.shell = Some(script.to_owned());
    }

    /// From the next start, sets an environment variable.
    pub fn set(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Creates a process without starting it. Its output goes to `dir/<name>.log`.
    pub fn new(name: &str, dir: &Path, admin: u16, args: &[&str], env: Vec<(String, String)>) -> Self {
        let args = args.iter().map(ToString::to_string).collect();
        Self {
            name: name.to_owned(),
            args,
            env,
            log: dir.join(format!("{name}.log")),
            admin,
            shell: None,
            child: None,
        }
    }

    /// Creates another process with the arguments and variables of this one, without starting it. `more` overrides the
    /// variables.
    pub fn twin(&self, name: &str, admin: u16, more: Vec<(String, String)>) -> Self {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        let env = [self.env.clone(), more].concat();
        Self::new(name, self.log.parent().unwrap(), admin, &args, env)
    }

    /// From the next start, sets the soft and the hard limit of open files, so that the process cannot raise it.
    pub fn limit_descriptors(&mut self, limit: u32) {
        self.run_by(&format!("ulimit -n {limit}; exec \"$0\" \"$@\""));
    }

    pub fn spawn(&mut self) {
        let log: File = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut program = Self::program();
        if let Some(script) = &self.shell {
            let path = program.get_program().to_owned();
            program = Command::new("sh");
            program.args(["-c", script]).arg(path);
            clean(&mut program);
        }
        let child = program
            .args(&self.args)
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Waits until `/readyz` succeeds. Fails the test after 60 s, or if the process ends.
    pub async fn ready(&mut self) {
        let url = format!("http://127.0.0.1:{}/readyz", self.admin);
        let (name, log) = (self.name.clone(), self.log.clone());
        let child = self.child.as_mut().unwrap();
        eventually(&format!("{name} is ready; see {}", log.display()), Duration::from_secs(60), async || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("{name} ended with {status}:\n{}", std::fs::read_to_string(&log).unwrap());
            }
            let answer = reqwest::get(&url).await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    pub fn admin_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.admin)
    }

    /// Sends SIGKILL and waits for the end of the process.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends a signal, such as `TERM` or `STOP`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Sends SIGTERM and returns the exit status. Fails the test after 30 s.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        let mut child = self.child.take().unwrap();
        eventually("the process ends after SIGTERM", Duration::from_secs(30), async || {
            child.try_wait().unwrap()
        })
        .await
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Removes the settings in the environment of the tests.
fn clean(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("COMMS_") {
            command.env_remove(name);
        }
    }
}
