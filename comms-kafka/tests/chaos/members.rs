//! The processes of the members: started, stopped, continued, terminated and killed.

use std::{
    collections::BTreeMap,
    fs::File,
    path::PathBuf,
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use crate::{
    ledger::{Kind, Ledger},
    member::{MEMBER, MemberConfig},
    rng::Rng,
};

/// The time limit for a member to end after SIGTERM: its drain time of 3 s, 11 s to commit and leave, and time to spare
/// on a busy machine.
const LEAVE: Duration = Duration::from_secs(30);
/// The time in which a group takes up the partitions of a member that was killed or stopped: its session timeout of 6 s,
/// and a rebalance.
const RECOVERY: Duration = Duration::from_secs(8);

struct Running {
    process: Child,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Live,
    Stopped { until: Instant },
    Leaving { since: Instant },
}

pub struct Members {
    config: MemberConfig,
    folder: PathBuf,
    ledger: Ledger,
    running: BTreeMap<u16, Running>,
    started: u16,
    /// When a member was last killed or stopped.
    lost: Option<Instant>,
    /// The numbers of members that were ever stopped.
    pub stopped: Vec<u16>,
    /// Members that ended in another way than requested.
    pub bad: Vec<String>,
    pub actions: BTreeMap<&'static str, u32>,
}

impl Members {
    /// The logs of the members go to `folder`.
    pub fn new(config: MemberConfig, folder: PathBuf) -> Self {
        let ledger = Ledger::open(&config.ledger);
        Self {
            config,
            folder,
            ledger,
            running: BTreeMap::new(),
            started: 0,
            lost: None,
            stopped: Vec::new(),
            bad: Vec::new(),
            actions: BTreeMap::new(),
        }
    }

    /// Starts `count` members, and waits until they handle SIGTERM.
    pub fn start(&mut self, count: usize) {
        for _ in 0..count {
            self.started += 1;
            let ready = self.folder.join(format!("member-{}.ready", self.started));
            let config = MemberConfig { process: self.started, ready: ready.clone(), ..self.config.clone() };
            let log = File::create(self.folder.join(format!("member-{}.log", self.started))).unwrap();
            let process = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "chaos_member", "--ignored", "--nocapture"])
                .env(MEMBER, serde_json::to_string(&config).unwrap())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap();
            self.running.insert(self.started, Running { process, state: State::Live });
            let limit = Instant::now() + LEAVE;
            while !ready.exists() {
                assert!(
                    Instant::now() < limit,
                    "member {} has not started: {}",
                    self.started,
                    self.log(self.started)
                );
                thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// Returns the members that were neither stopped nor asked to leave.
    fn live(&self) -> Vec<u16> {
        self.running.iter().filter(|(_, one)| one.state == State::Live).map(|(id, _)| *id).collect()
    }

    /// Kills one member.
    pub fn kill_one(&mut self, rng: &Rng) {
        let live = self.live();
        self.kill(*rng.pick(&live));
    }

    /// One action. At least one member continues. The action is another one if there are too few or too many members.
    pub fn act(&mut self, action: &'static str, rng: &Rng) {
        let live = self.live();
        let action = match action {
            "join" if live.len() >= 5 => "term",
            "term" | "kill" | "stop" if live.len() < 2 => "join",
            action => action,
        };
        *self.actions.entry(action).or_default() += 1;
        match action {
            "join" => self.start(1),
            "term" => self.terminate(*rng.pick(&live)),
            "kill" => self.kill(*rng.pick(&live)),
            // Longer than the session timeout, and longer than that and `max.poll.interval.ms`.
            _ => self.stop(*rng.pick(&live), Duration::from_secs(*rng.pick(&[8, 12]))),
        }
    }

    fn terminate(&mut self, id: u16) {
        let member = self.running.get_mut(&id).unwrap();
        member.state = State::Leaving { since: Instant::now() };
        signal("TERM", &member.process);
    }

    fn kill(&mut self, id: u16) {
        self.lost = Some(Instant::now());
        let mut member = self.running.remove(&id).unwrap();
        member.process.kill().unwrap();
        member.process.wait().unwrap();
        self.ledger.append(Kind::Killed, id, 0);
    }

    fn stop(&mut self, id: u16, time: Duration) {
        let member = self.running.get_mut(&id).unwrap();
        member.state = State::Stopped { until: Instant::now() + time };
        self.lost = Some(Instant::now());
        self.ledger.append(Kind::Stopped, id, 0);
        self.stopped.push(id);
        signal("STOP", &member.process);
    }

    pub fn any_stopped(&self) -> bool {
        self.running.values().any(|member| matches!(member.state, State::Stopped { .. }))
    }

    /// Returns whether the partitions of a killed or stopped member may be without an owner. The loss of one owner after
    /// another would be a pause that no consumer can avoid.
    pub fn recovers(&self) -> bool {
        self.any_stopped() || self.lost.is_some_and(|lost| lost.elapsed() < RECOVERY)
    }

    /// Continues members whose stop is over, and notices members that have ended.
    pub fn tick(&mut self) {
        let mut ended = Vec::new();
        for (id, member) in &mut self.running {
            if let State::Stopped { until } = member.state
                && Instant::now() >= until
            {
                member.state = State::Live;
                signal("CONT", &member.process);
            }
            let status = member.process.try_wait().unwrap();
            if status.is_none() && matches!(member.state, State::Leaving { since } if since.elapsed() > LEAVE)
            {
                self.bad.push(format!("member {id} has not left after {LEAVE:?}"));
                member.process.kill().unwrap();
            }
            if let Some(status) = status {
                ended.push((*id, status));
            }
        }
        for (id, status) in ended {
            self.ended(id, status);
        }
    }

    fn ended(&mut self, id: u16, status: ExitStatus) {
        let member = self.running.remove(&id).unwrap();
        if !status.success() || !matches!(member.state, State::Leaving { .. }) {
            self.bad.push(format!("member {id} ended with {status}: {}", self.log(id)));
        }
    }

    fn log(&self, id: u16) -> String {
        let log = std::fs::read_to_string(self.folder.join(format!("member-{id}.log"))).unwrap_or_default();
        log.chars().skip(log.chars().count().saturating_sub(2_000)).collect()
    }

    /// Asks every member to leave, and waits until all have ended.
    pub fn leave(&mut self) {
        for id in self.live() {
            self.terminate(id);
        }
        while !self.running.is_empty() {
            self.tick();
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        for member in self.running.values_mut() {
            let _ = member.process.kill();
            let _ = member.process.wait();
        }
    }
}

fn signal(signal: &str, process: &Child) {
    let status = Command::new("sh").args(["-c", &format!("kill -{signal} {}", process.id())]).status();
    assert!(status.unwrap().success(), "{signal}");
}
