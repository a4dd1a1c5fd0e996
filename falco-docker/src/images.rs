//! Images: those that functions run in, and those that are deployments.

use std::collections::HashMap;

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::models::{ContainerConfig, ContainerCreateBody, ImageInspect};
use bollard::query_parameters::{
    CommitContainerOptionsBuilder, CreateContainerOptions, CreateImageOptionsBuilder,
    ListImagesOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
    UploadToContainerOptionsBuilder,
};
use docker_credential::DockerCredential;
use falco_core::{Deployment, Error, ErrorKind, Result};
use futures_util::TryStreamExt;

use crate::bundle::{Bundle, Protocol};
use crate::config::Pull;
use crate::refusal::refusal;

/// The label with the function's name. Labels of an image are labels of its containers, too.
pub(crate) const NAME: &str = "falco.name";
const DEPLOYMENT: &str = "falco.deployment";
const PROTOCOL: &str = "falco.protocol";
const OWNER: &str = "falco.owner";
const RUN: &str = "falco.run";
const EXPIRES: &str = "falco.expires";

/// The repository of deployments; the function's name is the tag, since only tags may have capitals.
const REPOSITORY: &str = "falco-function";

/// The registry that a reference without one means, as credentials name it.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// The images of a daemon.
#[derive(Clone, Debug)]
pub(crate) struct Images {
    pub(crate) docker: Docker,
    pub(crate) host: String,
}

/// A deployment that is there.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) image: String,
    pub(crate) deployment: Deployment,
    pub(crate) protocol: Protocol,
}

impl Images {
    fn refusal(&self, error: &bollard::errors::Error) -> Error {
        refusal(&self.host, error)
    }

    /// Finds the image that a function is to run in, and pulls it if that is wanted.
    pub(crate) async fn base(&self, reference: &str, pull: Pull) -> Result<ImageInspect> {
        if pull == Pull::Always {
            self.pull(reference).await?;
        }
        let missing = match self.docker.inspect_image(reference).await {
            Ok(image) => return Ok(image),
            Err(error) => self.refusal(&error),
        };
        if missing.kind() != ErrorKind::NotFound || pull == Pull::Always {
            return Err(missing);
        }
        if pull == Pull::Never {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("the daemon does not have the image {reference}"),
            )
            .with_hint(format!(
                "run `docker pull {reference}`, or set FALCO_DOCKER_PULL (pull) to missing"
            )));
        }
        self.pull(reference).await?;
        self.docker.inspect_image(reference).await.map_err(|error| self.refusal(&error))
    }

    async fn pull(&self, reference: &str) -> Result<()> {
        tracing::info!(image = reference, "pulling an image");
        // Without a tag or a digest, the daemon would pull all tags.
        let last = reference.rsplit('/').next().unwrap_or(reference);
        let complete = match last.contains([':', '@']) {
            true => reference.to_owned(),
            false => format!("{reference}:latest"),
        };
        let options = CreateImageOptionsBuilder::new().from_image(&complete).build();
        let mut progress = self.docker.create_image(Some(options), None, credentials(reference));
        let pulled = async {
            while let Some(info) = progress.try_next().await? {
                tracing::debug!(image = reference, status = info.status, "pulling");
            }
            Ok(())
        };
        pulled.await.map_err(|error: bollard::errors::Error| {
            let error = self.refusal(&error);
            let hint = match error.kind() {
                ErrorKind::Unauthorized => format!(
                    "log in with `docker login {}`: credentials were looked for in the docker configuration",
                    registry(reference)
                ),
                _ => "check the reference and the daemon's network, or set another image".to_owned(),
            };
            error.context(format!("the image {reference} cannot be pulled")).with_hint(hint)
        })
    }

    /// Makes the image of a deployment, which replaces one of the same name.
    pub(crate) async fn build(
        &self,
        base: &str,
        deployment: &Deployment,
        bundle: &Bundle,
    ) -> Result<String> {
        let body = ContainerCreateBody {
            image: Some(base.to_owned()),
            entrypoint: Some(bundle.entrypoint.clone()),
            cmd: Some(bundle.command.clone()),
            env: Some(bundle.environment.clone()),
            working_dir: Some(bundle.directory.clone()),
            labels: Some(labels(deployment, bundle.protocol)),
            open_stdin: Some(true),
            stdin_once: Some(true),
            ..ContainerCreateBody::default()
        };
        self.commit(body, &deployment.name, Some(bundle)).await
    }

    /// Changes what a deployment says of itself; its files stay.
    pub(crate) async fn relabel(&self, stored: &Stored) -> Result<String> {
        let body = ContainerCreateBody {
            image: Some(stored.image.clone()),
            labels: Some(labels(&stored.deployment, stored.protocol)),
            open_stdin: Some(true),
            stdin_once: Some(true),
            ..ContainerCreateBody::default()
        };
        self.commit(body, &stored.deployment.name, None).await
    }

    /// Makes an image of a container that never runs.
    async fn commit(
        &self,
        body: ContainerCreateBody,
        name: &str,
        bundle: Option<&Bundle>,
    ) -> Result<String> {
        let options = None::<CreateContainerOptions>;
        let container = self
            .docker
            .create_container(options, body)
            .await
            .map_err(|error| self.refusal(&error))?
            .id;
        let committed = self.fill(&container, name, bundle).await;
        let options = RemoveContainerOptionsBuilder::new().force(true).build();
        if let Err(error) = self.docker.remove_container(&container, Some(options)).await {
            tracing::warn!(%error, container, "a container that was made for its image stays");
        }
        committed
    }

    async fn fill(&self, container: &str, name: &str, bundle: Option<&Bundle>) -> Result<String> {
        if let Some(bundle) = bundle {
            let options = UploadToContainerOptionsBuilder::new().path("/").build();
            self.docker
                .upload_to_container(
                    container,
                    Some(options),
                    bollard::body_full(bundle.tar.clone()),
                )
                .await
                .map_err(|error| self.refusal(&error))?;
        }
        let options = CommitContainerOptionsBuilder::new()
            .container(container)
            .repo(REPOSITORY)
            .tag(name)
            .pause(false)
            .build();
        let committed = self.docker.commit_container(options, ContainerConfig::default()).await;
        committed.map(|image| image.id).map_err(|error| self.refusal(&error))
    }

    /// Looks a deployment up by its name.
    pub(crate) async fn load(&self, name: &str) -> Result<Stored> {
        let image = self.docker.inspect_image(&format!("{REPOSITORY}:{name}")).await;
        let image = image.map_err(|error| match self.refusal(&error) {
            error if error.kind() == ErrorKind::NotFound => {
                Error::new(ErrorKind::NotFound, "there is no such function")
            }
            error => error,
        })?;
        let labels = image.config.and_then(|config| config.labels).unwrap_or_default();
        stored(image.id.unwrap_or_default(), &labels).ok_or_else(|| {
            Error::new(ErrorKind::Protocol, format!("the image {REPOSITORY}:{name} is not Falco's"))
        })
    }

    /// All deployments.
    pub(crate) async fn list(&self) -> Result<Vec<Stored>> {
        let images = self.labelled(NAME).await?;
        let current = images.into_iter().filter(|image| {
            image.repo_tags.iter().any(|tag| tag.split(':').next() == Some(REPOSITORY))
        });
        Ok(current.filter_map(|image| stored(image.id, &image.labels)).collect())
    }

    async fn labelled(&self, label: &str) -> Result<Vec<bollard::models::ImageSummary>> {
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListImagesOptionsBuilder::new().all(true).filters(&filters).build();
        self.docker.list_images(Some(options)).await.map_err(|error| self.refusal(&error))
    }

    /// Removes all images of a name, and says whether there were any.
    pub(crate) async fn remove(&self, name: &str) -> Result<bool> {
        let images = self.labelled(&format!("{NAME}={name}")).await?;
        for image in &images {
            self.delete(&image.id).await?;
        }
        Ok(!images.is_empty())
    }

    /// Removes one image; one that is not there is fine.
    pub(crate) async fn delete(&self, image: &str) -> Result<()> {
        let options = RemoveImageOptionsBuilder::new().force(true).build();
        match self.docker.remove_image(image, Some(options), None).await {
            Ok(_) => Ok(()),
            Err(error) => match self.refusal(&error) {
                error if error.kind() == ErrorKind::NotFound => Ok(()),
                error => Err(error),
            },
        }
    }
}

fn labels(deployment: &Deployment, protocol: Protocol) -> HashMap<String, String> {
    let json = |value: serde_json::Result<String>| value.unwrap_or_default();
    let mut labels = HashMap::from([
        (NAME.to_owned(), deployment.name.clone()),
        (DEPLOYMENT.to_owned(), json(serde_json::to_string(deployment))),
        (PROTOCOL.to_owned(), json(serde_json::to_string(&protocol))),
    ]);
    if let Some(ownership) = &deployment.ownership {
        let expiry = ownership.expires_at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        labels.insert(OWNER.into(), ownership.owner.clone());
        labels.insert(RUN.into(), ownership.run.to_string());
        labels.insert(EXPIRES.into(), expiry.as_secs().to_string());
    }
    labels
}

fn stored(image: String, labels: &HashMap<String, String>) -> Option<Stored> {
    let deployment = serde_json::from_str(labels.get(DEPLOYMENT)?).ok()?;
    let protocol = serde_json::from_str(labels.get(PROTOCOL)?).ok()?;
    Some(Stored { image, deployment, protocol })
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
}
