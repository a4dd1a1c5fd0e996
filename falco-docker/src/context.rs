//! The daemon that the command `docker` would talk to.

use std::fs;
use std::path::{Path, PathBuf};

use falco_core::{Error, Result};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::NAME;
use crate::tls::Tls;

/// Where Docker listens on Linux.
const SOCKET: &str = "unix:///var/run/docker.sock";

/// A daemon, as settings name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Daemon {
    pub(crate) host: String,
    pub(crate) tls: Option<Tls>,
}

impl Daemon {
    fn usual() -> Self {
        Self { host: SOCKET.into(), tls: None }
    }
}

/// The daemon of `DOCKER_HOST`, else that of the current context (`DOCKER_CONTEXT`, else `currentContext` in the
/// configuration), else the usual socket.
pub(crate) fn daemon(variable: &dyn Fn(&str) -> Option<String>) -> Result<Daemon> {
    let directory = variable("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&variable("HOME")?).join(".docker")));
    if let Some(host) = variable("DOCKER_HOST") {
        let certificates = variable("DOCKER_CERT_PATH").map(PathBuf::from).or(directory);
        // The value does not matter, as for the command `docker`.
        let tls = variable("DOCKER_TLS_VERIFY").and(certificates).map(Tls::in_folder);
        let tls = tls.filter(|_| host.starts_with("tcp://") || host.starts_with("https://"));
        return Ok(Daemon { host, tls });
    }
    let Some(directory) = directory else { return Ok(Daemon::usual()) };
    let name = match variable("DOCKER_CONTEXT") {
        Some(name) => Some(name),
        None => current(&directory.join("config.json"))?,
    };
    match name.as_deref() {
        None | Some("" | "default") => Ok(Daemon::usual()),
        Some(name) => of_context(&directory, name),
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

/// A context's description and its certificates are in folders that are named by the hash of its name.
fn of_context(directory: &Path, name: &str) -> Result<Daemon> {
    let hash: String = Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect();
    let file = directory.join("contexts/meta").join(&hash).join("meta.json");
    let text = fs::read_to_string(&file).map_err(|error| unreadable(&file, &error))?;
    let json: Value = serde_json::from_str(&text).map_err(|error| unreadable(&file, &error))?;
    let endpoint = &json["Endpoints"]["docker"];
    let refused = |message: String| {
        Error::invalid_input(message)
            .with_platform(NAME)
            .with_hint("set DOCKER_HOST, or choose another context with DOCKER_CONTEXT")
    };
    let Some(host) = endpoint["Host"].as_str() else {
        return Err(refused(format!("the docker context {name:?} has no host")));
    };
    let certificates = directory.join("contexts/tls").join(hash).join("docker");
    let tls = certificates.join("ca.pem").exists().then(|| Tls::in_folder(certificates));
    if tls.is_none() && endpoint["SkipTLSVerify"] == true {
        return Err(refused(format!(
            "the docker context {name:?} does not check the daemon's certificate, and Falco does"
        )));
    }
    Ok(Daemon { host: host.to_owned(), tls })
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

    fn daemon_with(variables: &[(&str, &str)]) -> Result<Daemon> {
        daemon(&|name: &str| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn host_with(variables: &[(&str, &str)]) -> Result<String> {
        daemon_with(variables).map(|daemon| daemon.host)
    }

    /// A home with a context of this name; the folder for its certificates.
    fn context(home: &Path, name: &str, endpoint: &str) -> PathBuf {
        let docker = home.join(".docker");
        let hash: String = Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect();
        let meta = docker.join("contexts/meta").join(&hash);
        let certificates = docker.join("contexts/tls").join(hash).join("docker");
        fs::create_dir_all(&meta).unwrap();
        fs::create_dir_all(&certificates).unwrap();
        let current = format!(r#"{{"currentContext":"{name}"}}"#);
        fs::write(docker.join("config.json"), current).unwrap();
        let json = format!(r#"{{"Name":"{name}","Endpoints":{{"docker":{endpoint}}}}}"#);
        fs::write(meta.join("meta.json"), json).unwrap();
        certificates
    }

    #[test]
    fn variables_ask_for_tls_and_name_the_certificates() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let at = |host, more: &[(&'static str, &str)]| {
            let mut variables = vec![("DOCKER_HOST", host), ("HOME", path)];
            variables.extend_from_slice(more);
            daemon_with(&variables).unwrap().tls
        };
        let verify = ("DOCKER_TLS_VERIFY", "1");
        assert_eq!(at("tcp://lab:2376", &[]), None);
        let home = folder.path().join(".docker");
        assert_eq!(at("tcp://lab:2376", &[verify]), Some(Tls::new(home.join("ca.pem"))));
        let named = at("tcp://lab:2376", &[verify, ("DOCKER_CERT_PATH", path)]);
        assert_eq!(named, Some(Tls::new(folder.path().join("ca.pem"))));
        assert_eq!(at("unix:///run/docker.sock", &[verify]), None);
    }

    #[test]
    fn a_context_with_an_authority_alone_shows_no_certificate_of_its_own() {
        let home = tempfile::tempdir().unwrap();
        let endpoint = r#"{"Host":"tcp://lab:2376","SkipTLSVerify":false}"#;
        let certificates = context(home.path(), "lab", endpoint);
        let variables = [("HOME", home.path().to_str().unwrap())];
        assert_eq!(daemon_with(&variables).unwrap().tls, None);
        fs::write(certificates.join("ca.pem"), "").unwrap();
        let tls = daemon_with(&variables).unwrap().tls.unwrap();
        assert_eq!(tls, Tls::new(certificates.join("ca.pem")));
        for name in ["cert.pem", "key.pem"] {
            fs::write(certificates.join(name), "").unwrap();
        }
        assert!(daemon_with(&variables).unwrap().tls.unwrap().client.is_some());
    }

    #[test]
    fn a_context_that_checks_no_certificate_is_refused() {
        let home = tempfile::tempdir().unwrap();
        context(home.path(), "lab", r#"{"Host":"tcp://lab:2376","SkipTLSVerify":true}"#);
        let error = daemon_with(&[("HOME", home.path().to_str().unwrap())]).unwrap_err();
        assert!(error.to_string().contains("certificate") && error.hint().is_some(), "{error}");
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
        context(home.path(), "lab", r#"{"Host":"tcp://lab:2375"}"#);
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
