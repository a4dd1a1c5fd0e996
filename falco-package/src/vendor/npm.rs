//! Packages for Node.js, by npm.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use falco_core::{Error, ErrorKind, Result};
use serde_json::{Map, Value, json};

use super::{PackageTarget, cache, cache_folder, read, tool};
use crate::requirements::Machine;

/// The project's own settings of npm, such as its registry.
const CONFIGURATION: &str = ".npmrc";

const MISSING: &str = "install Node.js with npm";

/// Installs the dependencies of a folder's `package.json`, and returns a folder with `node_modules` and a `package.json` that
/// starts `index.js`.
pub(super) fn install(folder: &Path, target: &PackageTarget) -> Result<PathBuf> {
    let manifest = folder.join("package.json");
    let text = read(&manifest)?;
    let package: Map<String, Value> = serde_json::from_str(&text).map_err(|error| {
        let message = format!("{} is not a valid package.json", manifest.display());
        Error::invalid_input(message).with_source(&error)
    })?;
    let beside = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    let (lock, configuration) = (beside("package-lock.json"), beside(CONFIGURATION));
    let cpu = match target.machine.unwrap_or_else(Machine::current) {
        Machine::Aarch64 => "arm64",
        _ => "x64",
    };
    let options = ["--os=linux", "--libc=glibc", &format!("--cpu={cpu}")].map(str::to_owned);
    let described = format!("npm {options:?} {}", target.runtime);
    cache::folder_for(&cache_folder()?, &[&described, &text, &lock, &configuration], |into| {
        let write = |name: &str, content: &str| {
            fs::write(into.join(name), content).map_err(|error| {
                let message = format!("cannot write to {}", into.display());
                Error::new(ErrorKind::Other, message).with_source(&error)
            })
        };
        write("package.json", &text)?;
        for (name, content) in [("package-lock.json", &lock), (CONFIGURATION, &configuration)] {
            if !content.is_empty() {
                write(name, content)?;
            }
        }
        let verb = if lock.is_empty() { "install" } else { "ci" };
        let mut npm = Command::new("npm");
        npm.args([verb, "--omit=dev", "--no-audit", "--no-fund", "--loglevel=error"]);
        let installed = tool::run(npm.args(&options).current_dir(into), MISSING);
        // It may hold a password for the registry, which stays on this machine.
        let _ = fs::remove_file(into.join(CONFIGURATION));
        installed?;
        let mut started = Map::from_iter([("main".to_owned(), json!("index.js"))]);
        started.extend(package.get("name").map(|name| ("name".to_owned(), name.clone())));
        let _ = fs::remove_file(into.join("package-lock.json"));
        // Programs of packages are links, and no function calls them.
        let _ = fs::remove_dir_all(into.join("node_modules/.bin"));
        write("package.json", &Value::Object(started).to_string())
    })
}
