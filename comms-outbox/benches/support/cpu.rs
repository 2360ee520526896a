//! The CPU time of processes.

use std::time::Duration;

/// Returns the CPU time of this process, and that of the processes `server`, such as the server's end of connections.
pub(super) fn cpu(server: &[i32]) -> [Duration; 2] {
    [of("self"), server.iter().map(|pid| of(&pid.to_string())).sum()]
}

/// Returns the CPU time of a process, or 0 if it runs on another machine.
fn of(process: &str) -> Duration {
    let ticks = || -> Option<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
    };
    // A tick is 10 ms.
    Duration::from_millis(ticks().unwrap_or(0) * 10)
}
