//! Debian's chromium over a pipe: no port that another process could find.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(90);

/// A browser that ends with this value.
pub(crate) struct Browser {
    child: Child,
    to: File,
    from: Receiver<Value>,
    next: u64,
    events: Vec<Value>,
    _profile: tempfile::TempDir,
}

/// A page of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) width: u32,
    pub(crate) is_dark: bool,
}

impl Browser {
    /// Starts it, or says that the caller is skipped, which in CI is a failure.
    pub(crate) fn start() -> Option<Self> {
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let is_there = |name: &str| {
            let version = Command::new(name).arg("--version").stdin(Stdio::null()).output();
            version.is_ok_and(|output| output.status.success())
        };
        let Some(program) = names.into_iter().find(|name| is_there(name)) else {
            let message = "skipped: there is no chromium; on Debian: apt-get install chromium";
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{message}");
            // Not `eprintln!`, which the test harness captures.
            let _ = writeln!(std::io::stderr(), "{message}");
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        let (commands, to) = std::io::pipe().unwrap();
        let (from, answers) = std::io::pipe().unwrap();
        let mut command = Command::new(program);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]);
        command.args(["--no-first-run", "--disable-background-networking", "--disable-sync"]);
        command.args([
            "--disable-component-update",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ]);
        command.args(["--no-proxy-server", "--remote-debugging-pipe"]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
            .fd_mappings(vec![
                FdMapping { parent_fd: commands.into(), child_fd: 3 },
                FdMapping { parent_fd: answers.into(), child_fd: 4 },
            ])
            .unwrap();
        let child = command.spawn().unwrap();
        drop(command);
        let (messages, received) = channel();
        let mut from = BufReader::new(File::from(std::os::fd::OwnedFd::from(from)));
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while from.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                let message = std::mem::take(&mut message);
                let Ok(value) = serde_json::from_slice(message.strip_suffix(&[0]).unwrap()) else {
                    return;
                };
                if messages.send(value).is_err() {
                    return;
                }
            }
        });
        let to = File::from(std::os::fd::OwnedFd::from(to));
        Some(Self { child, to, from: received, next: 0, events: Vec::new(), _profile: profile })
    }

    /// Opens a page and waits until its script has drawn it.
    pub(crate) fn open(&mut self, url: &str, look: Look) -> Page<'_> {
        let target = self.call(None, "Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = self.call(None, "Target.attachToTarget", attach)["sessionId"].clone();
        let session = session.as_str().unwrap().to_owned();
        let mut page = Page { browser: self, session };
        for domain in ["Page.enable", "Runtime.enable", "Network.enable", "Log.enable"] {
            page.call(domain, json!({}));
        }
        page.resize(look);
        page.browser.events.clear();
        page.call("Page.navigate", json!({ "url": url }));
        page.wait_for("document.documentElement?.dataset.ready === 'yes'");
        page
    }

    fn call(&mut self, session: Option<&str>, method: &str, parameters: Value) -> Value {
        self.next += 1;
        let mut message = json!({"id": self.next, "method": method, "params": parameters});
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = serde_json::to_vec(&message).unwrap();
        bytes.push(0);
        self.to.write_all(&bytes).unwrap();
        loop {
            let answer = self
                .from
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_| panic!("no answer to {method}"));
            if answer["id"] == json!(self.next) {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An open page.
pub(crate) struct Page<'a> {
    browser: &'a mut Browser,
    session: String,
}

impl Page<'_> {
    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.browser.call(Some(&self.session), method, parameters)
    }

    pub(crate) fn resize(&mut self, look: Look) {
        let scheme = if look.is_dark { "dark" } else { "light" };
        let features = json!([
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
        let size =
            json!({"width": look.width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// The value of an expression, which may be a promise.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let parameters =
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let result = self.call("Runtime.evaluate", parameters);
        assert!(
            result["exceptionDetails"].is_null(),
            "{expression}: {}",
            result["exceptionDetails"]
        );
        result["result"]["value"].clone()
    }

    pub(crate) fn text(&mut self, selector: &str) -> String {
        let expression = format!("document.querySelector({selector:?})?.innerText ?? ''");
        self.value(&expression).as_str().unwrap().to_owned()
    }

    pub(crate) fn wait_for(&mut self, condition: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            if self.value(condition) == json!(true) {
                return;
            }
            let events = &self.browser.events;
            assert!(Instant::now() < until, "{condition} never came true; events: {events:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn key(&mut self, key: &str) {
        let text = if key.len() == 1 { key } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({"type": kind, "key": key, "text": if kind == "keyDown" { text } else { "" }});
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Requests that the page made after it was asked for, and what its script or its policy complained about.
    pub(crate) fn requests_and_complaints(&mut self) -> (Vec<String>, Vec<String>) {
        // Whatever was sent until now is read on the way to this answer.
        self.value("1");
        let (mut requests, mut complaints) = (Vec::new(), Vec::new());
        for event in &self.browser.events {
            let parameters = &event["params"];
            match event["method"].as_str().unwrap_or_default() {
                "Network.requestWillBeSent" => {
                    requests.push(parameters["request"]["url"].as_str().unwrap().to_owned());
                }
                "Runtime.exceptionThrown" => complaints.push(parameters.to_string()),
                "Log.entryAdded" => complaints.push(parameters["entry"]["text"].to_string()),
                _ => {}
            }
        }
        (requests, complaints)
    }

    /// The findings of axe-core, in one line each; `None` where it is not installed.
    pub(crate) fn accessibility(&mut self) -> Option<Vec<String>> {
        let folder = falco_testkit::runtimes::find("axe-core")?;
        let script =
            std::fs::read_to_string(folder.join("node_modules/axe-core/axe.min.js")).unwrap();
        // By the debugger, which the page's policy does not hold back.
        self.value(&format!("{script}; 1"));
        let found = self.value(
            "axe.run().then(all => all.violations.map(it => `${it.id}: ${it.help}: ${it.nodes.map(n => n.html).slice(0, 3).join(' ')}`))",
        );
        Some(serde_json::from_value(found).unwrap())
    }

    /// A picture of the page down to `height`, as PNG.
    pub(crate) fn picture(&mut self, width: u32, height: u32) -> Vec<u8> {
        use base64::Engine;
        let clip = json!({"x": 0, "y": 0, "width": width, "height": height, "scale": 1});
        let parameters = json!({"format": "png", "captureBeyondViewport": true, "clip": clip, "optimizeForSpeed": false});
        let data = self.call("Page.captureScreenshot", parameters)["data"].clone();
        base64::engine::general_purpose::STANDARD.decode(data.as_str().unwrap()).unwrap()
    }
}
