//! Chromium without a window, driven by the Chrome DevTools Protocol. The tests of `reference-app` use this file too.
#![allow(dead_code, reason = "no test target uses all of it")]

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    sync::{
        Mutex,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
    time::{sleep, timeout},
};

/// The limit of a wait that ends a test which hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// What a page shows when a wait has failed.
const REPORT: &str = "window.report?.() ?? document.body.innerText";

/// The shell gives the pipes the descriptors 3 and 4, on which Chromium reads commands and writes replies. Chromium ends
/// when they are closed, also if the process of the test is killed.
const PIPES: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#;

const OPTIONS: [&str; 9] = [
    "--headless",
    "--remote-debugging-pipe",
    // Root cannot use the sandbox. The pages are those of the tests.
    "--no-sandbox",
    // `/dev/shm` of a container may be small.
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--no-proxy-server",
];

/// A running Chromium with a profile of its own: the tabs are those of one user.
pub(crate) struct Browser {
    child: Child,
    pipe: Arc<Mutex<Pipe>>,
    _profile: TempDir,
}

struct Pipe {
    last_id: u64,
    commands: ChildStdin,
    messages: UnboundedReceiver<Value>,
}

impl Browser {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts Chromium with more options.
    pub(crate) fn start_with(options: &[&str]) -> Self {
        let program = std::env::var("COMMS_TEST_CHROMIUM").unwrap_or_else(|_| {
            panic!(
                "COMMS_TEST_CHROMIUM is not set: run scripts/test, or export COMMS_TEST_CHROMIUM=\"$(scripts/chromium)\""
            )
        });
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", PIPES, &program]).args(OPTIONS).args(options);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let commands = child.stdin.take().expect("the pipe of the commands");
        let replies = child.stdout.take().expect("the pipe of the replies");
        let (sender, messages) = unbounded_channel();
        std::thread::spawn(move || read(replies, &sender));
        let pipe = Arc::new(Mutex::new(Pipe { last_id: 0, commands, messages }));
        Self { child, pipe, _profile: profile }
    }

    /// Opens `url` in a new tab, which is in front of the others.
    pub(crate) async fn open(&self, url: &str) -> Tab {
        let mut pipe = self.pipe.lock().await;
        let target = pipe.call(None, "Target.createTarget", json!({ "url": url })).await.unwrap();
        let target = target["targetId"].as_str().unwrap().to_owned();
        let attach = json!({ "targetId": target, "flatten": true });
        let attached = pipe.call(None, "Target.attachToTarget", attach).await.unwrap();
        let session = attached["sessionId"].as_str().unwrap().to_owned();
        Tab { pipe: self.pipe.clone(), target, session }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // A program that has ended cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Passes on the messages of Chromium, which end with a zero byte each.
fn read(replies: ChildStdout, messages: &UnboundedSender<Value>) {
    let mut replies = BufReader::new(replies);
    loop {
        let mut text = Vec::new();
        match replies.read_until(0, &mut text) {
            Ok(1..) if text.pop() == Some(0) => {}
            _ => return,
        }
        let message = serde_json::from_slice(&text).expect("a message of Chromium is JSON");
        if messages.send(message).is_err() {
            return;
        }
    }
}

impl Pipe {
    /// Calls a method of the browser, or of the tab with the session `session`. Returns the text of an error.
    async fn call(&mut self, session: Option<&str>, method: &str, params: Value) -> Result<Value, String> {
        self.last_id += 1;
        let mut command = json!({ "id": self.last_id, "method": method, "params": params });
        if let Some(session) = session {
            command["sessionId"] = json!(session);
        }
        write!(self.commands, "{command}\0").unwrap();
        loop {
            let message = timeout(LIMIT, self.messages.recv()).await;
            let mut message =
                message.unwrap_or_else(|_| panic!("{method}: no reply")).expect("Chromium runs");
            // The other messages are events.
            if message["id"] == self.last_id {
                return match &message["error"] {
                    Value::Null => Ok(message["result"].take()),
                    error => Err(format!("{method}: {error}")),
                };
            }
        }
    }
}

pub(crate) struct Tab {
    pipe: Arc<Mutex<Pipe>>,
    target: String,
    session: String,
}

impl Tab {
    pub(crate) async fn call(&self, method: &str, params: Value) -> Value {
        self.pipe.lock().await.call(Some(&self.session), method, params).await.unwrap()
    }

    /// Returns the value of an expression in the page, or the text of its exception. Fails too if the page is left
    /// meanwhile.
    async fn evaluate(&self, expression: &str) -> Result<Value, String> {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut result = self.pipe.lock().await.call(Some(&self.session), "Runtime.evaluate", params).await?;
        match &result["exceptionDetails"] {
            Value::Null => Ok(result["result"]["value"].take()),
            details => Err(details["exception"]["description"].to_string()),
        }
    }

    /// Returns the value of an expression in the page.
    pub(crate) async fn get(&self, expression: &str) -> Value {
        self.evaluate(expression).await.unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// Evaluates an expression that leaves the page.
    pub(crate) async fn leave(&self, expression: &str) {
        // The page may have been left before the reply.
        let _ = self.evaluate(expression).await;
    }

    /// Waits until an expression is true in the page, which may be loading still.
    pub(crate) async fn until(&self, expression: &str) {
        let poll = async {
            while self.evaluate(expression).await != Ok(json!(true)) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(LIMIT, poll).await.is_err() {
            panic!("not within {LIMIT:?}: {expression}: {:?}", self.evaluate(REPORT).await);
        }
    }

    /// Takes the network of the page away, or gives it back. The page gets the events `offline` and `online`.
    pub(crate) async fn set_offline(&self, is_offline: bool) {
        let params = json!({
            "offline": is_offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1
        });
        self.call("Network.enable", json!({})).await;
        self.call("Network.emulateNetworkConditions", params).await;
    }

    /// Stops the page, as the browser does with tabs that were not used for some time, or lets it go on.
    pub(crate) async fn set_frozen(&self, is_frozen: bool) {
        let state = if is_frozen { "frozen" } else { "active" };
        self.call("Page.setWebLifecycleState", json!({ "state": state })).await;
    }

    /// Puts the tab in front of the others.
    pub(crate) async fn show(&self) {
        self.call("Page.bringToFront", json!({})).await;
    }

    pub(crate) async fn close(self) {
        let target = json!({ "targetId": self.target });
        self.pipe.lock().await.call(None, "Target.closeTarget", target).await.unwrap();
    }
}
