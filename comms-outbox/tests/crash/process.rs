//! Processes by id: signals, children, and commands under the account `postgres`.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::rng::Rng;

/// Returns the path of a program of PostgreSQL: in `COMMS_TEST_POSTGRES_BIN`, or in the newest installed version.
pub fn postgres_program(name: &str) -> PathBuf {
    let given = std::env::var_os("COMMS_TEST_POSTGRES_BIN").map(PathBuf::from);
    given.or_else(newest_postgres).expect("PostgreSQL's programs are missing: run scripts/test").join(name)
}

fn newest_postgres() -> Option<PathBuf> {
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let installed = fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let newest =
        installed.filter(|path| path.join("bin/initdb").exists()).max_by_key(|path| version(path))?;
    Some(newest.join("bin"))
}

pub fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Returns a command that runs under the account `postgres` if the tests run as root, because PostgreSQL refuses root.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    if is_root() {
        command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program);
    }
    command.current_dir("/").stdin(Stdio::null());
    command
}

/// Runs `command` to its end and returns its output.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Sends `signal` (`KILL`, `STOP`, `CONT`, `QUIT`) to those of `pids` that exist.
pub fn signal(signal: &str, pids: &[u32]) {
    let pids: Vec<_> = pids.iter().map(u32::to_string).collect();
    let kill = format!("kill -{signal} {}", pids.join(" "));
    let _ = Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status();
}

/// Returns the state and the parent of a process.
fn stat(pid: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

/// Returns the child processes of `pid`.
pub fn children(pid: u32) -> Vec<u32> {
    let all =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(|child| stat(*child).is_some_and(|(_, parent)| parent == pid)).collect()
}

/// Returns the command line, in which PostgreSQL describes the activity of the process.
pub fn title(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

/// Waits until every process has ended. A zombie counts as ended, because an idle init process never reaps it.
pub fn wait_gone(pids: &[u32]) {
    let limit = Instant::now() + Duration::from_secs(20);
    let there = |pid: &u32| stat(*pid).is_some_and(|(state, _)| state != "Z");
    while pids.iter().any(there) {
        assert!(Instant::now() < limit, "still running 20 s after SIGKILL: {pids:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Returns a port below the range of outgoing connections, so that none of them can take it while its server is down.
pub fn free_port() -> u16 {
    let rng = Rng::from_entropy();
    let mut ports = (0..200).map(|_| 20_000 + u16::try_from(rng.below(12_000)).unwrap());
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("no free port")
}
