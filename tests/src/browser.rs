//! A real browser, driven over a pipe: what a page means to a screen reader, where the keyboard
//! leads, and how soon it is there.
//!
//! Chromium speaks its debugging protocol over two of its descriptors, 3 and 4: a document of JSON
//! a message, each ended by a zero byte. No port is opened.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::compiler;
use crate::limit;

/// Longest wait for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// Height of the window, in CSS pixels.
const HEIGHT: u32 = 900;

/// The program: `XSPLICE_BROWSER`, or a Chromium that is installed.
#[must_use]
pub fn program() -> Option<String> {
    if let Ok(named) = std::env::var("XSPLICE_BROWSER") {
        return Some(named);
    }
    ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| compiler::exists(name))
        .map(str::to_owned)
}

/// A running browser with one page; ends with this.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    requests: File,
    replies: Receiver<Value>,
    next: u64,
    /// Of the page; empty until there is one.
    session: String,
    /// Profile and pipes.
    _folder: TempDir,
}

impl Browser {
    /// Starts `program`.
    ///
    /// # Errors
    /// When it cannot be started, or does not answer.
    pub fn start(program: &str) -> Result<Browser> {
        let folder = tempfile::tempdir()?;
        let (asks, answers) = (folder.path().join("asks"), folder.path().join("answers"));
        let made = Command::new("mkfifo").args([&asks, &answers]).status()?;
        if !made.success() {
            bail!("mkfifo failed");
        }
        let child = Command::new("sh")
            .args([
                "-c",
                "exec \"$@\" 3<\"$ASKS\" 4>\"$ANSWERS\"",
                "sh",
                program,
            ])
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--force-renderer-accessibility",
                "--remote-debugging-pipe",
            ])
            .arg(format!(
                "--user-data-dir={}",
                folder.path().join("profile").display()
            ))
            .env("ASKS", &asks)
            .env("ANSWERS", &answers)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("the browser cannot be started")?;
        // Opened for both, neither waits for a browser that never comes.
        let open = |path: &Path| File::options().read(true).write(true).open(path);
        let (requests, answers) = (open(&asks)?, open(&answers)?);
        let (sender, replies) = channel();
        thread::spawn(move || {
            let mut answers = BufReader::new(answers);
            let mut bytes = Vec::new();
            while answers
                .read_until(0, &mut bytes)
                .is_ok_and(|count| count > 0)
            {
                bytes.pop();
                let Ok(value) = serde_json::from_slice(&bytes) else {
                    return;
                };
                if sender.send(value).is_err() {
                    return;
                }
                bytes.clear();
            }
        });
        let mut browser = Browser {
            child,
            requests,
            replies,
            next: 0,
            session: String::new(),
            _folder: folder,
        };
        browser.new_page()?;
        Ok(browser)
    }

    fn new_page(&mut self) -> Result<()> {
        let target = self.call("Target.createTarget", json!({"url": "about:blank"}))?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = self.call("Target.attachToTarget", attach)?;
        let session = attached["sessionId"].as_str();
        session.context("no session")?.clone_into(&mut self.session);
        for domain in ["Page.enable", "Accessibility.enable"] {
            self.call(domain, json!({}))?;
        }
        Ok(())
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// When there is none in time, or the browser says that it cannot.
    pub fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        let id = self.ask(method, parameters)?;
        let mut answer = self.wait(method, |message| message["id"] == id)?;
        if let Some(error) = answer.get("error") {
            bail!("{method}: {error}");
        }
        Ok(answer["result"].take())
    }

    fn ask(&mut self, method: &str, parameters: Value) -> Result<u64> {
        self.next += 1;
        let mut message = json!({"id": self.next, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let mut bytes = serde_json::to_vec(&message)?;
        bytes.push(0);
        self.requests.write_all(&bytes)?;
        Ok(self.next)
    }

    fn wait(&self, what: &str, is_meant: impl Fn(&Value) -> bool) -> Result<Value> {
        let end = Instant::now() + limit::scaled(ANSWER_LIMIT)?;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let message = self.replies.recv_timeout(left);
            let message = message.with_context(|| format!("{what}: no answer"))?;
            if is_meant(&message) {
                return Ok(message);
            }
        }
    }

    /// Opens a page of this width in CSS pixels; how long the browser took until it was loaded,
    /// laid out and its first frame was made.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub fn open(&mut self, page: &Path, width: u32) -> Result<Duration> {
        let size =
            json!({"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size)?;
        let address = format!("file://{}", page.display());
        let start = Instant::now();
        self.ask("Page.navigate", json!({"url": address}))?;
        self.wait("load", |message| message["method"] == "Page.loadEventFired")?;
        let frame = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))";
        self.evaluate(frame)?;
        Ok(start.elapsed())
    }

    /// What an expression of JavaScript comes to in the page; a promise is waited for.
    ///
    /// # Errors
    /// When it throws.
    pub fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let asked = json!({
            "expression": expression, "returnByValue": true, "awaitPromise": true,
        });
        let mut answer = self.call("Runtime.evaluate", asked)?;
        if let Some(thrown) = answer.get("exceptionDetails") {
            bail!("{expression}: {thrown}");
        }
        Ok(answer["result"]["value"].take())
    }

    /// Presses and releases a key: `Tab` or `Enter`.
    ///
    /// # Errors
    /// When the browser says that it cannot.
    pub fn press(&mut self, key: &str) -> Result<()> {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            other => bail!("{other}: a key that is not known here"),
        };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text,
            });
            self.call("Input.dispatchKeyEvent", event)?;
        }
        Ok(())
    }

    /// What a screen reader is told of the page, in order: nodes that are not left out.
    ///
    /// # Errors
    /// When the browser does not tell.
    pub fn accessibility(&mut self) -> Result<Vec<Node>> {
        let tree = self.call("Accessibility.getFullAXTree", json!({}))?;
        let nodes = tree["nodes"].as_array().context("no tree")?;
        let named = nodes.iter().map(|node| (node["nodeId"].as_str(), node));
        let by_id: HashMap<Option<&str>, &Value> = named.collect();
        // The first is the page; of each, its children in order.
        let mut open: Vec<&Value> = nodes.iter().take(1).collect();
        let mut told = Vec::new();
        while let Some(node) = open.pop() {
            if node["ignored"] != true {
                told.push(Node::of(node));
            }
            let children = node["childIds"].as_array().into_iter().flatten().rev();
            open.extend(children.filter_map(|child| by_id.get(&child.as_str()).copied()));
        }
        Ok(told)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A part of a page as a screen reader has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Such as `link`.
    pub role: String,
    /// What it is called.
    pub name: String,
    /// Of a heading.
    pub level: Option<u64>,
}

impl Node {
    fn of(node: &Value) -> Node {
        let text = |key: &str| node[key]["value"].as_str().unwrap_or_default().to_owned();
        let properties = node["properties"].as_array();
        let mut properties = properties.into_iter().flatten();
        let level = properties.find(|one| one["name"] == "level");
        Node {
            role: text("role"),
            name: text("name"),
            level: level.and_then(|one| one["value"]["value"].as_u64()),
        }
    }
}
