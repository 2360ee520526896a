//! One process of the system.

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
    descriptors: Option<u32>,
    child: Option<Child>,
}

impl Process {
    /// The program, without settings that the tests' own environment may have.
    pub fn program() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reference-app"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("COMMS_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// A process that is not running yet; its output goes to `dir/<name>.log`.
    pub fn new(name: &str, dir: &Path, admin: u16, args: &[&str], env: Vec<(String, String)>) -> Self {
        let args = args.iter().map(ToString::to_string).collect();
        let log = dir.join(format!("{name}.log"));
        Self { name: name.to_owned(), args, env, log, admin, descriptors: None, child: None }
    }

    /// Bounds the open files of the process from its next start, so that it cannot raise the bound.
    pub fn limit_descriptors(&mut self, limit: u32) {
        self.descriptors = Some(limit);
    }

    /// The program, under the limit of open files if there is one.
    fn command(&self) -> Command {
        let program = Self::program();
        let Some(limit) = self.descriptors else { return program };
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\"")]).arg(program.get_program());
        for (name, _) in program.get_envs() {
            shell.env_remove(name);
        }
        shell
    }

    pub fn spawn(&mut self) {
        let log: File = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let child = self
            .command()
            .args(&self.args)
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Until `/readyz` says so.
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

    /// SIGKILL: no chance to say goodbye.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM, and how it ended.
    pub async fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
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
