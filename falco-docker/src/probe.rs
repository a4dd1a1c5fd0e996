//! Whether an image can run functions of a runtime: asked when a function is deployed, not when it is called first.

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, PoisonError};

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptions, StartContainerOptions,
};
use falco_core::{Error, ErrorKind, Result, RuntimeName};
use futures_util::StreamExt;

use crate::refusal::refusal;
use crate::sweep;

/// The oldest versions that Falco's shims run on.
const OLDEST_PYTHON: [u32; 2] = [3, 8];
const OLDEST_NODE: [u32; 2] = [16, 0];

/// An image that was asked: its daemon's host, its id and the runtime. An id is the digest of the image's files, and whether a
/// machine can start them differs from daemon to daemon.
type Asked = (String, String, String);

/// The images that were asked already, for all platforms of this process.
static PROBED: LazyLock<Mutex<HashSet<Asked>>> = LazyLock::new(Mutex::default);

/// Checks that the image has the runtime's interpreter, in the version that the runtime names; a native function needs a
/// shell alone. Each image of a daemon is asked once.
///
/// # Errors
///
/// `InvalidInput` with what was asked for and what is there.
pub(crate) async fn check(
    docker: &Docker,
    host: &str,
    (id, reference): (&str, &str),
    runtime: &RuntimeName,
) -> Result<()> {
    let key = (host.to_owned(), id.to_owned(), runtime.to_string());
    if PROBED.lock().unwrap_or_else(PoisonError::into_inner).contains(&key) {
        return Ok(());
    }
    let said = ask(docker, host, id, command(runtime)).await?;
    judge(reference, runtime, said.as_deref())?;
    // Another image may get the same name.
    if id != reference {
        PROBED.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
    }
    Ok(())
}

/// The command line by which a shell finds the interpreter's version.
fn command(runtime: &RuntimeName) -> &'static str {
    match runtime.family() {
        "python" => "python3 -V 2>&1",
        "nodejs" => "node --version 2>&1",
        _ => "echo shell",
    }
}

/// Starts a container that says what it has; none where it has no shell to say it.
async fn ask(docker: &Docker, host: &str, image: &str, command: &str) -> Result<Option<String>> {
    let refused = |error: bollard::errors::Error| refusal(host, &error);
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: Some(["sh", "-c", command].map(str::to_owned).into()),
        cmd: Some(Vec::new()),
        attach_stdout: Some(true),
        network_disabled: Some(true),
        host_config: Some(HostConfig { auto_remove: Some(true), ..HostConfig::default() }),
        ..ContainerCreateBody::default()
    };
    let created = docker.create_container(None::<CreateContainerOptions>, body).await;
    let id = created.map_err(refused)?.id;
    let options = AttachContainerOptionsBuilder::new().stream(true).stdout(true).build();
    let answer = async {
        let mut streams = docker.attach_container(&id, Some(options)).await?;
        docker.start_container(&id, None::<StartContainerOptions>).await?;
        let mut said = Vec::new();
        while let Some(piece) = streams.output.next().await {
            said.extend_from_slice(&piece?.into_bytes());
        }
        Ok(String::from_utf8_lossy(&said).trim().to_owned())
    };
    match answer.await.map_err(refused) {
        Ok(said) => Ok(Some(said)),
        Err(error) => {
            sweep::remove(docker, &id).await;
            let message = error.message();
            let has_no_shell =
                message.contains("executable file not found") || message.contains("no such file");
            if has_no_shell { Ok(None) } else { Err(error.context("the image cannot be tried")) }
        }
    }
}

fn judge(reference: &str, runtime: &RuntimeName, said: Option<&str>) -> Result<()> {
    let refused = |lacks: String| {
        Err(Error::new(ErrorKind::InvalidInput, format!("the image {reference} {lacks}")).with_hint(
            "choose an image with a shell (sh) and the interpreter of the function's runtime on its PATH",
        ))
    };
    let Some(said) = said else {
        return refused(format!("has no shell (sh), which functions of {runtime} are started by"));
    };
    let (start, oldest, name) = match runtime.family() {
        "python" => ("Python ", OLDEST_PYTHON, "python3"),
        "nodejs" => ("v", OLDEST_NODE, "node"),
        _ => return Ok(()),
    };
    let Some(version) = said.strip_prefix(start) else {
        return refused(format!("has no interpreter for {runtime}: {name} answers {said:?}"));
    };
    let numbers: Vec<u32> = version.split('.').map_while(|part| part.parse().ok()).collect();
    if numbers.as_slice() < oldest.as_slice() {
        let [major, minor] = oldest;
        return refused(format!("has {name} {version}, and Falco needs {major}.{minor} or later"));
    }
    let is_asked = runtime.version().is_none_or(|asked| {
        version.strip_prefix(asked).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    if is_asked {
        Ok(())
    } else {
        refused(format!("has {name} {version}, and {runtime} was asked for"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(runtime: &str, said: Option<&str>) -> Result<()> {
        judge("a:1", &runtime.parse().unwrap(), said)
    }

    #[test]
    fn the_version_that_was_asked_for_has_to_be_there() {
        for (runtime, said) in [
            ("python:3", "Python 3.11.7"),
            ("python:3.11", "Python 3.11.7"),
            ("python", "Python 3.8.0"),
            ("nodejs", "v22.1.0"),
            ("nodejs:22", "v22.1.0"),
            ("native", "shell"),
        ] {
            judged(runtime, Some(said)).unwrap();
        }
    }

    #[test]
    fn what_is_missing_or_too_old_is_named_with_what_was_asked_for() {
        for (runtime, said, words) in [
            ("python:3", None, "no shell"),
            ("python:3", Some("sh: 1: python3: not found"), "not found"),
            ("python:3", Some("Python 3.6.9"), "3.8 or later"),
            ("python:3.1", Some("Python 3.11.7"), "python:3.1 was asked for"),
            ("nodejs:20", Some("v22.1.0"), "nodejs:20 was asked for"),
            ("nodejs", Some("v12.22.1"), "16.0 or later"),
        ] {
            let error = judged(runtime, said).unwrap_err();
            let text = error.to_string();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(text.contains("a:1") && text.contains(words), "{text}");
        }
    }
}
