//! Pulling an image: its progress, and the credentials for its registry.

use std::collections::HashMap;

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use docker_credential::DockerCredential;
use falco_core::{Error, ErrorKind, Result};
use futures_util::TryStreamExt;

use crate::refusal::refusal;

/// The registry that a reference without one means, as credentials name it.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// The progress of a pull is reported again when it has come so much further, in percent.
const STEP: u64 = 10;

/// Pulls an image, and reports its progress as events of `tracing`: one when it begins, one for each tenth, and one when it is
/// there.
pub(crate) async fn pull(docker: &Docker, host: &str, reference: &str) -> Result<()> {
    tracing::info!(image = reference, "pulling an image");
    let complete = complete(reference);
    let options = CreateImageOptionsBuilder::new().from_image(&complete).build();
    let mut answers = docker.create_image(Some(options), None, credentials(reference));
    let mut progress = Progress::default();
    let pulled = async {
        while let Some(info) = answers.try_next().await? {
            if let Some(percent) = progress.take(&info) {
                let (done, total) = progress.bytes();
                tracing::info!(image = reference, percent, done, total, "pulling an image");
            }
        }
        Ok(())
    };
    pulled
        .await
        .map_err(|error: bollard::errors::Error| failed(reference, refusal(host, &error)))?;
    tracing::info!(image = reference, "the image is there");
    Ok(())
}

fn failed(reference: &str, error: Error) -> Error {
    let hint = match error.kind() {
        ErrorKind::Unauthorized => format!(
            "log in with `docker login {}`: credentials were looked for in the docker configuration ({})",
            registry(reference),
            "DOCKER_CONFIG, else ~/.docker/config.json"
        ),
        _ => "check the reference and the daemon's network, set another image, or load it with `docker load` and set \
              FALCO_DOCKER_PULL (pull) to never"
            .to_owned(),
    };
    error.context(format!("the image {reference} cannot be pulled")).with_hint(hint)
}

/// The reference with a tag: without one or a digest, the daemon would pull all tags.
fn complete(reference: &str) -> String {
    let last = reference.rsplit('/').next().unwrap_or(reference);
    match last.contains([':', '@']) {
        true => reference.to_owned(),
        false => format!("{reference}:latest"),
    }
}

/// How much of an image has come, from what the daemon says of each layer.
#[derive(Debug, Default)]
struct Progress {
    /// Bytes that have come, and all, by the layer's id.
    layers: HashMap<String, (u64, u64)>,
    reported: u64,
}

impl Progress {
    /// Takes in an answer; the percentage, if it is to be reported.
    fn take(&mut self, info: &CreateImageInfo) -> Option<u64> {
        let id = info.id.as_ref()?;
        let bytes = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
        match (info.status.as_deref()?, &info.progress_detail) {
            ("Downloading", Some(detail)) => {
                let (current, total) = (bytes(detail.current)?, bytes(detail.total)?);
                self.layers.insert(id.clone(), (current.min(total), total));
            }
            ("Download complete" | "Pull complete", _) => {
                let layer = self.layers.get_mut(id)?;
                layer.0 = layer.1;
            }
            _ => return None,
        }
        let (done, total) = self.bytes();
        let percent = done.saturating_mul(100).checked_div(total)?;
        // Layers that become known later make it less again.
        if percent < self.reported + STEP {
            return None;
        }
        self.reported = percent - percent % STEP;
        Some(percent)
    }

    /// Bytes that have come, and all that are known of.
    fn bytes(&self) -> (u64, u64) {
        let sum = |sums: (u64, u64), layer: &(u64, u64)| {
            (sums.0.saturating_add(layer.0), sums.1.saturating_add(layer.1))
        };
        self.layers.values().fold((0, 0), sum)
    }
}

/// The registry of an image reference, as `docker login` has it.
fn registry(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => DOCKER_HUB,
    }
}

/// The credentials for the registry that the docker configuration and its helpers know.
fn credentials(reference: &str) -> Option<DockerCredentials> {
    match docker_credential::get_credential(registry(reference)) {
        Ok(DockerCredential::UsernamePassword(user, password)) => Some(DockerCredentials {
            username: Some(user),
            password: Some(password),
            ..DockerCredentials::default()
        }),
        Ok(DockerCredential::IdentityToken(token)) => {
            Some(DockerCredentials { identitytoken: Some(token), ..DockerCredentials::default() })
        }
        // No configuration, or none for this registry: public images need none.
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ProgressDetail;

    use super::*;

    #[test]
    fn the_registry_of_a_reference_is_that_which_docker_means() {
        for (reference, expected) in [
            ("python:3", DOCKER_HUB),
            ("library/python:3", DOCKER_HUB),
            ("ghcr.io/a/b:1", "ghcr.io"),
            ("localhost:5000/a", "localhost:5000"),
        ] {
            assert_eq!(registry(reference), expected);
        }
    }

    #[test]
    fn a_reference_without_a_tag_means_the_latest() {
        for (reference, expected) in [
            ("python", "python:latest"),
            ("localhost:5000/a", "localhost:5000/a:latest"),
            ("a:1", "a:1"),
            ("a@sha256:01", "a@sha256:01"),
        ] {
            assert_eq!(complete(reference), expected);
        }
    }

    #[test]
    fn progress_counts_the_bytes_of_all_layers_and_is_reported_by_tenths() {
        let says = |id: &str, status: &str, current: i64, total: i64| CreateImageInfo {
            id: Some(id.into()),
            status: Some(status.into()),
            progress_detail: Some(ProgressDetail { current: Some(current), total: Some(total) }),
            ..CreateImageInfo::default()
        };
        let mut progress = Progress::default();
        assert_eq!(progress.take(&says("a", "Pulling fs layer", 0, 0)), None);
        assert_eq!(progress.take(&says("a", "Downloading", 5, 100)), None);
        assert_eq!(progress.take(&says("a", "Downloading", 25, 100)), Some(25));
        assert_eq!(progress.take(&says("a", "Downloading", 29, 100)), None);
        assert_eq!(progress.take(&says("b", "Downloading", 0, 100)), None);
        assert_eq!(progress.take(&says("a", "Pull complete", 0, 0)), Some(50));
        assert_eq!(progress.bytes(), (100, 200));
        assert_eq!(progress.take(&says("b", "Download complete", 0, 0)), Some(100));
    }

    #[test]
    fn a_registry_that_refuses_is_named_with_where_credentials_were_looked_for() {
        let refused = Error::new(ErrorKind::Unauthorized, "no");
        let text = failed("ghcr.io/a/b:1", refused).to_string();
        assert!(text.contains("docker login ghcr.io") && text.contains("config.json"), "{text}");
        let missing = failed("a:1", Error::new(ErrorKind::NotFound, "no")).to_string();
        assert!(missing.contains("a:1") && missing.contains("FALCO_DOCKER_PULL"), "{missing}");
    }
}
