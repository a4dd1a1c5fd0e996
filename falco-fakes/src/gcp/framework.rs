//! The servers that run functions: Google's Functions Frameworks, which `cargo xtask runtimes` installs, or else small
//! runners that speak as they do.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::process::Command;

const PRELOADED: &str = include_str!("preloaded.py");
const PYTHON_RUNNER: &str = include_str!("runner.py");
const NODE_RUNNER: &str = include_str!("runner.js");
/// Ports that the system gives to nobody who has not asked for them.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// How a server says that it listens.
pub(super) enum Ready {
    /// This address accepts a connection.
    Accepts(String),
    /// It prints a line that begins with these words, followed by the port at this address.
    Says(String, &'static str),
}

/// The server for a runtime of Google's, and how to wait for it.
pub(super) fn command(runtime: &str) -> (Command, Ready) {
    let says = |words| Ready::Says("127.0.0.1:".to_owned(), words);
    let is_python = runtime.starts_with("python");
    let folder =
        if is_python { "functions-framework-python" } else { "functions-framework-nodejs" };
    let (mut command, ready) = match (installed(folder), is_python) {
        (Some(folder), true) => {
            // Of all the addresses of this machine's own, a server has one for itself.
            let [a, b, c] = std::array::from_fn(|_| fastrand::u8(1..255));
            let (host, port) = (format!("127.{a}.{b}.{c}"), fastrand::u16(PORTS));
            let python = folder.join("bin/python3");
            let mut command = cleared(python.clone());
            command.args(["-I", "-S", "-c", PRELOADED, "start", preloaded(&python)]);
            command.env("HOST", &host).env("PORT", port.to_string());
            (command, Ready::Accepts(format!("{host}:{port}")))
        }
        (Some(folder), false) => {
            let mut command = cleared(node(runtime));
            command.arg(folder.join("node_modules/.bin/functions-framework"));
            command.env("PORT", fastrand::u16(PORTS).to_string());
            (command, says("URL: http://localhost:"))
        }
        (None, true) => {
            let mut command = cleared("python3".into());
            command.args(["-c", PYTHON_RUNNER]);
            (command, says("runner listens on "))
        }
        (None, false) => {
            let mut command = cleared(node(runtime));
            command.args(["-e", NODE_RUNNER]);
            (command, says("runner listens on "))
        }
    };
    command.env("FUNCTION_SIGNATURE_TYPE", "http");
    (command, ready)
}

/// The name of the server that starts the framework for Python in this process, in a fifth of the time that an interpreter
/// needs to import it.
fn preloaded(python: &Path) -> &'static str {
    // Never dropped: its input stays open, and it ends with this process.
    static SERVER: OnceLock<(String, Child)> = OnceLock::new();
    let (name, _) = SERVER.get_or_init(|| {
        let name = format!("falco-fakes-{}-{:016x}", std::process::id(), fastrand::u64(..));
        let mut server = std::process::Command::new(python);
        server.args(["-c", PRELOADED, "serve", &name]).env_clear().env("LANG", "C.UTF-8");
        server.stdin(Stdio::piped()).stdout(Stdio::null());
        (name, server.spawn().unwrap())
    });
    name
}

fn cleared(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    command
}

/// The interpreter of a runtime: this machine's, unless a newer one is asked for and installed.
fn node(runtime: &str) -> PathBuf {
    let newer = (runtime == "nodejs24").then(|| installed("nodejs-24")).flatten();
    newer.map_or_else(|| "node".into(), |folder| folder.join("node_modules/.bin/node"))
}

/// The folder of a runtime that is installed.
fn installed(name: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("FALCO_RUNTIMES")?).join(name);
    folder.join("installed").exists().then_some(folder)
}

/// Waits until an address accepts a connection.
pub(super) async fn accepts(address: &str) {
    while TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
