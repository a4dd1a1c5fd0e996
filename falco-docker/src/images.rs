//! Images: those that functions run in, and those that are deployments.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;

use bollard::Docker;
use bollard::models::{ContainerConfig, ContainerCreateBody, ImageInspect};
use bollard::query_parameters::{
    CommitContainerOptionsBuilder, CreateContainerOptions, ListImagesOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder, UploadToContainerOptionsBuilder,
};
use falco_core::{Deployment, Error, ErrorKind, Result};

use crate::bundle::{Bundle, Dialogue};
use crate::config::Pull;
use crate::pull::pull;
use crate::refusal::refusal;

/// The label with the function's name. Labels of an image are labels of its containers, too.
pub(crate) const NAME: &str = "falco.name";
const DEPLOYMENT: &str = "falco.deployment";
const DIALOGUE: &str = "falco.dialogue";
const SETTINGS: &str = "falco.settings";
const BINDS: &str = "falco.binds";
const OWNER: &str = "falco.owner";
const RUN: &str = "falco.run";
const EXPIRES: &str = "falco.expires";

/// The variable with the key of `falco.settings`. Events and lists show labels, and not the configuration of an image.
const KEY: &str = "FALCO_DEPLOYMENT_KEY";

/// The repository of deployments; the function's name is the tag, since only tags may have capitals.
const REPOSITORY: &str = "falco-function";

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
    pub(crate) dialogue: Dialogue,
    pub(crate) settings: String,
    /// The key without which `settings` confirms no guess; empty where another version of Falco has deployed it.
    pub(crate) key: String,
    /// Folders that its containers see, in Docker's words.
    pub(crate) binds: Vec<String>,
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
        pull(&self.docker, &self.host, reference).await
    }

    /// Makes the image of a deployment, which replaces one of the same name.
    pub(crate) async fn build(
        &self,
        base: &str,
        stored: &Stored,
        bundle: &Bundle,
    ) -> Result<String> {
        let mut environment = bundle.environment.clone();
        environment.push(format!("{KEY}={}", stored.key));
        let body = ContainerCreateBody {
            image: Some(base.to_owned()),
            entrypoint: bundle.entrypoint.clone(),
            cmd: bundle.command.clone(),
            env: Some(environment),
            working_dir: bundle.directory.clone(),
            labels: Some(labels(
                &stored.deployment,
                stored.dialogue,
                &stored.settings,
                &stored.binds,
            )),
            open_stdin: Some(true),
            stdin_once: Some(true),
            ..ContainerCreateBody::default()
        };
        self.commit(body, &stored.deployment.name, Some(bundle)).await
    }

    /// Changes what a deployment says of itself; its files stay.
    pub(crate) async fn relabel(&self, stored: &Stored) -> Result<String> {
        let body = ContainerCreateBody {
            image: Some(stored.image.clone()),
            labels: Some(labels(
                &stored.deployment,
                stored.dialogue,
                &stored.settings,
                &stored.binds,
            )),
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
        if let Some(bundle) = bundle.filter(|bundle| !bundle.tar.is_empty()) {
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
        let unknown = || Error::new(ErrorKind::NotFound, "there is no such function");
        // The client writes names into paths as they are: another character could lead to another image.
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
            return Err(unknown());
        }
        let image = self.docker.inspect_image(&format!("{REPOSITORY}:{name}")).await;
        let image = image.map_err(|error| match self.refusal(&error) {
            error if error.kind() == ErrorKind::NotFound => unknown(),
            error => error,
        })?;
        let config = image.config.unwrap_or_default();
        let environment = config.env.unwrap_or_default();
        let key = environment.iter().find_map(|it| it.strip_prefix(KEY)?.strip_prefix('='));
        let key = key.unwrap_or_default().to_owned();
        let labels = config.labels.unwrap_or_default();
        let stored = stored(image.id.unwrap_or_default(), &labels);
        stored.map(|stored| Stored { key, ..stored }).ok_or_else(|| {
            Error::new(ErrorKind::Protocol, format!("the image {REPOSITORY}:{name} is not Falco's"))
        })
    }

    /// All deployments.
    pub(crate) async fn list(&self) -> Result<Vec<Stored>> {
        let images = self.labelled(NAME).await?;
        let current =
            images.into_iter().filter(|image| image.repo_tags.iter().any(|tag| is_deployment(tag)));
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

/// A key that nobody can guess.
pub(crate) fn new_key() -> Result<String> {
    let mut bytes = [0; 16];
    let read = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    read.map_err(|error| {
        Error::new(ErrorKind::Unavailable, "/dev/urandom cannot be read").with_source(&error)
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn labels(
    deployment: &Deployment,
    dialogue: Dialogue,
    settings: &str,
    binds: &[String],
) -> HashMap<String, String> {
    let json = |value: serde_json::Result<String>| value.unwrap_or_default();
    let mut labels = HashMap::from([
        (NAME.to_owned(), deployment.name.clone()),
        (DEPLOYMENT.to_owned(), json(serde_json::to_string(deployment))),
        (DIALOGUE.to_owned(), json(serde_json::to_string(&dialogue))),
        (SETTINGS.to_owned(), settings.to_owned()),
        (BINDS.to_owned(), json(serde_json::to_string(binds))),
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
    let dialogue = serde_json::from_str(labels.get(DIALOGUE)?).ok()?;
    let settings = labels.get(SETTINGS).cloned().unwrap_or_default();
    let binds = labels.get(BINDS).and_then(|json| serde_json::from_str(json).ok());
    let binds = binds.unwrap_or_default();
    // A list of images does not show the key.
    Some(Stored { image, deployment, dialogue, settings, key: String::new(), binds })
}

/// Whether a tag is that of a deployment. Podman puts a registry in front of names that have none.
fn is_deployment(tag: &str) -> bool {
    const PREFIXES: [&str; 2] = ["docker.io/library/", "localhost/"];
    let name = tag.split_once(':').map_or(tag, |(name, _)| name);
    let own = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix));
    own.unwrap_or(name) == REPOSITORY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_deployments_are_known_with_podmans_registry_in_front() {
        for tag in
            ["falco-function:f", "localhost/falco-function:f", "docker.io/library/falco-function:f"]
        {
            assert!(is_deployment(tag), "{tag}");
        }
        assert!(!is_deployment("other/falco-function:f") && !is_deployment("falco-function-2:f"));
    }
}
