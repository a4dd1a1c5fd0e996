//! Which daemon the command `docker` would talk to.

use std::fs;
use std::path::{Path, PathBuf};

use falco_core::{Error, Result};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::NAME;

/// Where Docker listens on Linux.
const SOCKET: &str = "unix:///var/run/docker.sock";

/// `DOCKER_HOST`, else the host of the current context (`DOCKER_CONTEXT`, else `currentContext` in the configuration),
/// else the usual socket.
pub(crate) fn host(variable: &dyn Fn(&str) -> Option<String>) -> Result<String> {
    if let Some(host) = variable("DOCKER_HOST") {
        return Ok(host);
    }
    let directory = variable("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&variable("HOME")?).join(".docker")));
    let Some(directory) = directory else { return Ok(SOCKET.into()) };
    let name = match variable("DOCKER_CONTEXT") {
        Some(name) => Some(name),
        None => current(&directory.join("config.json"))?,
    };
    match name.as_deref() {
        None | Some("" | "default") => Ok(SOCKET.into()),
        Some(name) => host_of(&directory, name),
    }
}

/// The context that the configuration names, if there is a configuration.
fn current(config: &Path) -> Result<Option<String>> {
    let text = match fs::read_to_string(config) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(config, &error)),
    };
    let json: Value = serde_json::from_str(&text).map_err(|error| unreadable(config, &error))?;
    Ok(json["currentContext"].as_str().map(str::to_owned))
}

/// A context's description is in a folder that is named by the hash of its name.
fn host_of(directory: &Path, name: &str) -> Result<String> {
    let hash: String = Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect();
    let file = directory.join("contexts/meta").join(hash).join("meta.json");
    let text = fs::read_to_string(&file).map_err(|error| unreadable(&file, &error))?;
    let json: Value = serde_json::from_str(&text).map_err(|error| unreadable(&file, &error))?;
    let host = json["Endpoints"]["docker"]["Host"].as_str().map(str::to_owned);
    host.ok_or_else(|| {
        Error::invalid_input(format!("the docker context {name:?} has no host"))
            .with_platform(NAME)
            .with_hint("set DOCKER_HOST, or choose another context with DOCKER_CONTEXT")
    })
}

fn unreadable(file: &Path, error: &(dyn std::error::Error + 'static)) -> Error {
    Error::invalid_input(format!("{} cannot be read", file.display()))
        .with_platform(NAME)
        .with_hint("set DOCKER_HOST, or choose another context with DOCKER_CONTEXT")
        .with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host_with(variables: &[(&str, &str)]) -> Result<String> {
        host(&|name: &str| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn without_any_setting_it_is_the_usual_socket() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().to_str().unwrap();
        assert_eq!(host_with(&[("HOME", home)]).unwrap(), SOCKET);
        assert_eq!(host_with(&[]).unwrap(), SOCKET);
    }

    #[test]
    fn the_current_context_names_the_daemon_and_docker_host_comes_first() {
        let home = tempfile::tempdir().unwrap();
        let docker = home.path().join(".docker");
        let hash: String = Sha256::digest("lab").iter().map(|byte| format!("{byte:02x}")).collect();
        let meta = docker.join("contexts/meta").join(hash);
        fs::create_dir_all(&meta).unwrap();
        fs::write(docker.join("config.json"), r#"{"currentContext":"lab"}"#).unwrap();
        let json = r#"{"Name":"lab","Endpoints":{"docker":{"Host":"tcp://lab:2375"}}}"#;
        fs::write(meta.join("meta.json"), json).unwrap();
        let home = home.path().to_str().unwrap();
        assert_eq!(host_with(&[("HOME", home)]).unwrap(), "tcp://lab:2375");
        let both = [("HOME", home), ("DOCKER_HOST", "unix:///run/other.sock")];
        assert_eq!(host_with(&both).unwrap(), "unix:///run/other.sock");
    }

    #[test]
    fn a_context_that_is_not_there_is_named() {
        let home = tempfile::tempdir().unwrap();
        let variables = [("HOME", home.path().to_str().unwrap()), ("DOCKER_CONTEXT", "gone")];
        let error = host_with(&variables).unwrap_err().to_string();
        assert!(error.contains("meta.json") && error.contains("DOCKER_CONTEXT"), "{error}");
    }
}
