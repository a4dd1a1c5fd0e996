//! Deploying: from whatever is there to what was asked for, one request at a time.
//!
//! Every step looks at what is there and changes what differs. So a deployment that was stopped between any two
//! requests is finished by the next one; and since the role and the function carry the tags, it is found by
//! `list_deployments` and removed by `remove`.

use std::collections::BTreeMap;

use falco_core::{Deployable, Deployment, Error, ErrorKind, Result};
use falco_http::redact;
use falco_package::Archive;
use falco_package::native::SMALLER;

use super::AwsLambda;
use super::names::{self, DESCRIPTION};
use super::role::ExecutionRole;
use super::settings::{self, Sizes};
use super::wait::{Readiness, retry_until};
use crate::client::{
    CodeSource, Configuration, Function, NewFunction, RequestError, Start, Variables, hex,
};
use crate::package::{Artefact, ImageCode, Package};

/// A function as it is to be.
struct Wanted<'a> {
    function: &'a Deployable,
    artefact: Artefact,
    sizes: Sizes,
    variables: Variables,
    /// The tags of all that belongs to the function.
    tags: BTreeMap<String, String>,
    /// A hash of the content.
    content: String,
}

impl AwsLambda {
    pub(super) async fn deploy_function(&self, function: &Deployable) -> Result<Deployment> {
        let wanted = self.plan(function)?;
        // A message of AWS may quote the environment that it was sent.
        let deployed = self.ensure(&wanted).await;
        deployed.map_err(|error| without_values(error, &wanted.variables))
    }

    /// Checks all that can be checked before anything is sent.
    fn plan<'a>(&self, function: &'a Deployable) -> Result<Wanted<'a>> {
        function.validate()?;
        let sizes = Sizes::new(&function.scaling, &self.config)?;
        let variables = settings::variables(&function.env, self.config.limits.environment)?;
        let artefact = Artefact::new(function, &self.config)?;
        if let Artefact::Zip(package) = &artefact
            && self.config.bucket.is_none()
            && self.is_too_long(package)?
        {
            let message = format!(
                "the code has {} bytes, and {} can be uploaded directly",
                package.zip()?.len(),
                self.config.limits.direct_upload
            );
            let mut hint =
                "name a bucket in the same region (FALCO_AWS_BUCKET) to upload through".to_owned();
            if function.runtime.family() == "native" {
                hint = format!("{SMALLER}, or {hint}");
            }
            return Err(Error::new(ErrorKind::PayloadTooLarge, message)
                .with_platform(crate::NAME)
                .with_hint(hint));
        }
        let settings = format!("{:?} {}", self.config.role, self.config.log_retention_days);
        let content = artefact.content_hash(function, &settings);
        let tags = names::tags(function);
        Ok(Wanted { function, artefact, sizes, variables, tags, content })
    }

    fn is_too_long(&self, package: &Package) -> Result<bool> {
        package.is_longer_than(self.config.limits.direct_upload)
    }

    async fn ensure(&self, wanted: &Wanted<'_>) -> Result<Deployment> {
        let there = match self.client.get_function(&wanted.function.name).await {
            Ok(function) if self.is_deployed(wanted, &function) => {
                let function = self.ensure_tags(&wanted.tags, function).await?;
                return Ok(self.describe(&function));
            }
            Ok(function) => Some(function),
            Err(failure) if failure.is_not_found() => None,
            Err(failure) => return Err(failure.into()),
        };
        self.ensure_function(wanted, there).await
    }

    /// Whether a function is what is wanted, but for its owner. The digest of the code says that nobody has changed it since
    /// the tag was written, which is the last step of deploying.
    fn is_deployed(&self, wanted: &Wanted<'_>, function: &Function) -> bool {
        let there = &function.configuration;
        let tags = function.tags.as_ref();
        tags.and_then(|tags| tags.get(names::CONTENT))
            == Some(&content_tag(&wanted.content, &there.code_sha256))
            && Readiness::of(there) == Readiness::Ready
            && there.architectures == [self.config.architecture.as_str()]
            && (self.config.role.is_some() || self.is_own_role(&there.function_name, &there.role))
            && !matches!(&wanted.artefact, Artefact::Image(image) if image_differs(image, function))
            && !configuration_differs(&self.new_function(wanted, &there.role), function)
            && (wanted.sizes.reserved.is_none() || function.reserved() == wanted.sizes.reserved)
    }

    async fn ensure_function(
        &self,
        wanted: &Wanted<'_>,
        there: Option<Function>,
    ) -> Result<Deployment> {
        let name = &wanted.function.name;
        let role = self.ensure_role(name, &wanted.tags).await?;
        let there = match there {
            Some(function) => match Readiness::of(&function.configuration) {
                Readiness::Failed(_) => {
                    // What could not be created cannot be updated either.
                    self.client.delete_function(name).await?;
                    false
                }
                _ if function.configuration.is_image() != wanted.is_image() => {
                    // An archive never becomes an image, nor an image an archive.
                    self.client.delete_function(name).await?;
                    false
                }
                _ => true,
            },
            None => false,
        };
        if !there {
            self.create(wanted, &role).await?;
        }
        // Behind the function: a deployment that stops here is listed, and removed with its log group.
        self.ensure_log_group(name, &wanted.tags, role.is_ours).await?;
        // The last change to it may have failed: this deployment repairs it.
        let function = self.wait_until_settled(name).await?;
        self.converge(wanted, &role, function).await
    }

    async fn create(&self, wanted: &Wanted<'_>, role: &ExecutionRole) -> Result<()> {
        let code = match &wanted.artefact {
            Artefact::Image(image) => CodeSource::Image { uri: image.uri.clone() },
            // The function comes first, so that the upload belongs to something that can be found and removed.
            Artefact::Zip(package) if self.is_too_long(package)? => CodeSource::Zip(placeholder()?),
            Artefact::Zip(package) => CodeSource::Zip(package.zip()?.clone()),
        };
        let description = self.new_function(wanted, &role.arn);
        let waits = &self.config.waits;
        // "Cannot be assumed" is also said of a role that never can be; only one of ours is merely new.
        let role_is_new =
            |failure: &RequestError| role.is_ours && failure.says(&["cannot be assumed by Lambda"]);
        let created = retry_until(waits.role_interval, waits.role_timeout, role_is_new, || {
            self.client.create_function(&description, &code)
        })
        .await;
        match created {
            // The answer to a first request was lost, or somebody else was faster: what differs is changed below.
            Err(failure) if failure.says(&["already exist"]) => Ok(()),
            Err(failure) if failure.says(&["cannot be assumed by Lambda"]) => Err(Error::from(
                failure,
            )
            .with_hint("the role's trust policy has to allow lambda.amazonaws.com to assume it")),
            Err(failure) => Err(failure.into()),
            Ok(_) => Ok(()),
        }
    }

    fn new_function<'a>(&self, wanted: &'a Wanted<'_>, role: &'a str) -> NewFunction<'a> {
        NewFunction {
            name: &wanted.function.name,
            description: DESCRIPTION,
            start: match &wanted.artefact {
                Artefact::Zip(package) => {
                    Start::Handler { runtime: &package.runtime, handler: &package.handler }
                }
                Artefact::Image(image) => Start::Image { command: &image.command },
            },
            role,
            architecture: self.config.architecture.as_str(),
            memory_mib: wanted.sizes.memory_mib,
            timeout_s: wanted.sizes.timeout_s,
            storage_mib: wanted.sizes.storage_mib,
            variables: &wanted.variables,
            tags: &wanted.tags,
        }
    }

    /// Changes what differs, and waits after each change: while one is in progress, the next is refused.
    async fn converge(
        &self,
        wanted: &Wanted<'_>,
        role: &ExecutionRole,
        mut function: Function,
    ) -> Result<Deployment> {
        let name = &wanted.function.name;
        // After a failed change Lambda does not say which of it the function has: all of it is sent again.
        let is_broken = Readiness::of(&function.configuration) != Readiness::Ready;
        if is_broken || self.code_differs(wanted, &function)? {
            self.update_code(wanted).await?;
            function = self.wait_until_ready(name).await?;
        }
        let description = self.new_function(wanted, &role.arn);
        if is_broken || configuration_differs(&description, &function) {
            self.when_idle(|| self.client.update_function_configuration(&description)).await?;
            function = self.wait_until_ready(name).await?;
        }
        if let Some(reserved) = wanted.sizes.reserved
            && function.reserved() != Some(reserved)
        {
            self.reserve(name, reserved).await?;
            function.set_reserved(reserved);
        }
        let mut tags = wanted.tags.clone();
        let content = content_tag(&wanted.content, &function.configuration.code_sha256);
        tags.insert(names::CONTENT.into(), content);
        let function = self.ensure_tags(&tags, function).await?;
        Ok(self.describe(&function))
    }

    /// Writes the tags that differ.
    async fn ensure_tags(
        &self,
        wanted: &BTreeMap<String, String>,
        mut function: Function,
    ) -> Result<Function> {
        let there = function.tags.get_or_insert_default();
        if wanted.iter().any(|(name, value)| there.get(name) != Some(value)) {
            self.client.tag(&function.configuration.function_arn, wanted).await?;
            there.extend(wanted.clone());
        }
        Ok(function)
    }

    fn code_differs(&self, wanted: &Wanted<'_>, function: &Function) -> Result<bool> {
        let there = &function.configuration;
        let differs = match &wanted.artefact {
            Artefact::Zip(package) => there.code_sha256 != package.code_sha256()?,
            Artefact::Image(image) => image_differs(image, function),
        };
        Ok(differs || there.architectures != [self.config.architecture.as_str()])
    }

    async fn update_code(&self, wanted: &Wanted<'_>) -> Result<()> {
        let name = &wanted.function.name;
        let architecture = self.config.architecture.as_str();
        let package = match &wanted.artefact {
            Artefact::Zip(package) => package,
            Artefact::Image(image) => {
                let code = CodeSource::Image { uri: image.uri.clone() };
                self.when_idle(|| self.client.update_function_code(name, &code, architecture))
                    .await?;
                return Ok(());
            }
        };
        match &self.config.bucket {
            Some(bucket) if self.is_too_long(package)? => {
                let digest = hex(&package.sha256()?);
                let key = format!("{}{digest}.zip", names::object_prefix(name));
                self.client.put_object(bucket, &key, package.zip()?.clone()).await?;
                let code = CodeSource::Object { bucket: bucket.clone(), key: key.clone() };
                self.when_idle(|| self.client.update_function_code(name, &code, architecture))
                    .await?;
                self.wait_until_ready(name).await?;
                // Lambda has its own copy now.
                self.client.delete_object(bucket, &key).await?;
            }
            _ => {
                let code = CodeSource::Zip(package.zip()?.clone());
                self.when_idle(|| self.client.update_function_code(name, &code, architecture))
                    .await?;
            }
        }
        Ok(())
    }
}

impl Wanted<'_> {
    fn is_image(&self) -> bool {
        matches!(self.artefact, Artefact::Image(_))
    }
}

/// Whether Lambda may have another image than the one that is wanted: what a tag names now is not known.
fn image_differs(wanted: &ImageCode, function: &Function) -> bool {
    let there = function.code.as_ref().and_then(|code| code.resolved_image_uri.as_deref());
    let digest = there.and_then(|uri| uri.split_once('@')).map(|(_, digest)| digest);
    digest.is_none() || digest != wanted.digest.as_deref()
}

fn start_differs(wanted: &Start<'_>, there: &Configuration) -> bool {
    match wanted {
        Start::Handler { runtime, handler } => {
            there.runtime.as_deref() != Some(*runtime) || there.handler.as_deref() != Some(*handler)
        }
        Start::Image { command } => there.command() != *command,
    }
}

fn configuration_differs(wanted: &NewFunction<'_>, function: &Function) -> bool {
    let there = &function.configuration;
    let no_variables = Variables::default();
    start_differs(&wanted.start, there)
        || there.role != wanted.role
        || there.description != wanted.description
        || there.memory_size != Some(wanted.memory_mib)
        || there.timeout != Some(wanted.timeout_s)
        || there.ephemeral_storage.is_some_and(|storage| storage.size != wanted.storage_mib)
        || there.environment.as_ref().map_or(&no_variables, |e| &e.variables) != wanted.variables
}

/// The value of the tag that says what is deployed.
fn content_tag(content: &str, code_sha256: &str) -> String {
    format!("{content}:{code_sha256}")
}

/// The smallest archive that Lambda takes.
fn placeholder() -> Result<bytes::Bytes> {
    Archive::new().with_file("placeholder", "The code is still being uploaded.\n")?.to_zip()
}

fn without_values(error: Error, variables: &Variables) -> Error {
    let values = || variables.0.values().map(String::as_str);
    if !values().any(|value| value.len() >= 4 && error.message().contains(value)) {
        return error;
    }
    error.map_message(|message| redact(message, values()))
}
