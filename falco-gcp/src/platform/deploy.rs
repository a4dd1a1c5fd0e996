//! Deploying and scaling.

use std::collections::BTreeMap;

use falco_core::{Deployable, Deployment, Error, ErrorKind, Operation, Result, Scaling};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::operation::Looks;
use super::{Inner, names, sizes};
use crate::client::Function;
use crate::config::Access;
use crate::package;
use crate::refusal;

/// Names of environment variables that Google keeps for itself, and those of the shim.
const RESERVED: [&str; 9] = [
    "FUNCTION_TARGET",
    "FUNCTION_SIGNATURE_TYPE",
    "K_SERVICE",
    "K_REVISION",
    "K_CONFIGURATION",
    "PORT",
    "FALCO_BUCKET",
    "FALCO_PREFIX",
    "FALCO_STORAGE",
];

/// Everything that deploying sets. A field that is named and left out is reset, so that deploying twice gives what
/// deploying once does.
const DEPLOYED: [&str; 13] = [
    "description",
    "labels",
    "buildConfig.runtime",
    "buildConfig.entryPoint",
    "buildConfig.source",
    "serviceConfig.environmentVariables",
    "serviceConfig.serviceAccountEmail",
    "serviceConfig.availableMemory",
    "serviceConfig.availableCpu",
    "serviceConfig.timeoutSeconds",
    "serviceConfig.minInstanceCount",
    "serviceConfig.maxInstanceCount",
    "serviceConfig.maxInstanceRequestConcurrency",
];

impl Inner {
    pub(super) async fn deploy(&self, function: &Deployable) -> Result<Deployment> {
        let at = |e: Error| e.at(Operation::new(crate::NAME, "deploy").on(&function.name));
        function.validate().and_then(|()| function.refuse_image()).map_err(at)?;
        sizes::check(&function.scaling, self.start_timeout).map_err(at)?;
        check_environment(function).map_err(at)?;
        let runtime = self.runtimes.resolve(&function.runtime).map_err(at)?;
        let archive = package::archive(function, self.start_timeout).map_err(at)?;
        let members = self.members().await.map_err(at)?;

        let id = names::function_id(&function.name);
        self.ensure_queue().await.map_err(at)?;
        let mut body = self.body(function, &id, runtime);
        let secrets: Vec<&str> = function.env.iter().map(|(_, value)| value).collect();
        match self.api.get_function("deploy", &id).await {
            Ok(there) if self.is_deployed(function, &body, &there) => {
                let written = |(name, label): (&String, &Value)| {
                    label.as_str() == there.labels.get(name).map(String::as_str)
                };
                let mut labels = body["labels"].as_object().into_iter().flatten();
                if !labels.all(written) {
                    let patch =
                        || self.api.patch_function("deploy", &id, &body, &["labels"], &secrets);
                    let operation = self.when_free(patch).await.map_err(at)?;
                    self.finish("deploy", &id, operation, &secrets).await.map_err(at)?;
                }
            }
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(at(error)),
            found => {
                if found.is_ok()
                    && let Some(labels) = body["labels"].as_object_mut()
                {
                    // An update that fails may leave its labels on the older code.
                    labels.remove(names::CONTENT);
                }
                let zip = archive.to_zip().map_err(at)?;
                let source = self.api.upload(&id, zip).await.map_err(at)?;
                body["buildConfig"]["source"] = json!({ "storageSource": source });
                self.create_or_update(&id, &body, &secrets).await.map_err(at)?;
            }
        }

        // A deployment that stopped before may lack what follows.
        let active = self.active(&id).await.map_err(at)?;
        let deployment = self.describe(&active).map_err(at)?;
        self.ensure_bucket().await.map_err(at)?;
        self.grant_invoker(&deployment, &members).await.map_err(at)?;
        Ok(deployment)
    }

    /// The sizes that a function is to have.
    fn scaling(&self, function: &Deployable) -> Scaling {
        let defaults = Scaling::default()
            .with_max_instances(self.max_instances)
            .with_timeout(sizes::DEFAULT_TIMEOUT);
        defaults.overridden_by(&function.scaling)
    }

    /// Whether a function is what is wanted, but for its owner.
    fn is_deployed(&self, function: &Deployable, body: &Value, there: &Function) -> bool {
        let content = body["labels"][names::CONTENT].as_str();
        let variables: BTreeMap<String, String> =
            serde_json::from_value(body["serviceConfig"]["environmentVariables"].clone())
                .unwrap_or_default();
        there.state == "ACTIVE"
            && content.is_some()
            && names::content_of(there) == content
            && there.service_config.environment_variables.0 == variables
            && sizes::are_in_force(&self.scaling(function), there)
    }

    /// The function as Google takes it, without its source.
    fn body(&self, function: &Deployable, id: &str, runtime: &str) -> Value {
        let mut service = sizes::fields(&self.scaling(function), self.start_timeout);
        let account = self.service_account.as_deref().unwrap_or_default();
        let settings = format!("{runtime} {} {account}", json!(service));
        let own = function.env.iter().map(|(name, value)| (name.to_owned(), json!(value)));
        let mut variables: Map<_, _> = own.chain(self.shim_environment(id)).collect();
        if runtime.starts_with("python") {
            variables.entry(sizes::THREADS.0).or_insert_with(|| json!(sizes::THREADS.1));
        }
        service.insert("environmentVariables".into(), variables.into());
        if let Some(email) = &self.service_account {
            service.insert("serviceAccountEmail".into(), json!(email));
        }
        let mut labels =
            names::labels(&function.name, &function.runtime, function.ownership.as_ref());
        names::label_start(&mut labels, self.start_timeout);
        if let Some(shared) = &self.shared {
            names::label_shared(&mut labels, &shared.queue, &shared.bucket);
        }
        names::label_content(&mut labels, package::content_hash(function, &settings));
        json!({
            "environment": "GEN_2",
            "description": "Deployed by Falco",
            "labels": labels,
            "buildConfig": {
                "runtime": runtime,
                "entryPoint": package::TARGET,
            },
            "serviceConfig": service,
        })
    }

    /// Creates the function, or updates the one that has its name.
    async fn create_or_update(&self, id: &str, body: &Value, secrets: &[&str]) -> Result<()> {
        let created = self.when_free(|| self.api.create_function(id, body, secrets)).await;
        let ended = match created {
            Ok(operation) => self.finish("deploy", id, operation, secrets).await,
            Err(error) => Err(error),
        };
        match ended {
            // In the reply or in the operation, also after a create whose reply was lost.
            Err(error) if refusal::is_already_there(&error) => self.update(id, body, secrets).await,
            Err(error) if is_refusal_of_code(&error) => {
                // What has failed to be created stays behind otherwise, and nobody ever asks for it.
                self.discard(id).await;
                Err(error)
            }
            other => other,
        }
    }

    async fn update(&self, id: &str, body: &Value, secrets: &[&str]) -> Result<()> {
        if self.api.get_function("deploy", id).await?.environment == "GEN_1" {
            return Err(Error::new(
                ErrorKind::Conflict,
                "a function of the 1st generation has this name",
            )
            .with_hint("delete it, or deploy under another name"));
        }
        let patch = || self.api.patch_function("deploy", id, body, &DEPLOYED, secrets);
        let operation = self.when_free(patch).await?;
        self.finish("deploy", id, operation, secrets).await
    }

    /// Deletes a function whose creation has failed.
    async fn discard(&self, id: &str) {
        let is_failed = match self.api.get_function("deploy", id).await {
            Ok(function) => function.state == "FAILED",
            Err(_) => false,
        };
        if !is_failed {
            return;
        }
        let deleted = async {
            let operation = self.when_free(|| self.api.delete_function("deploy", id)).await?;
            self.finish("deploy", id, operation, &[]).await
        };
        if let Err(error) = deleted.await {
            tracing::warn!(function = id, %error, "a function that failed to deploy was left behind");
        }
    }

    /// The function once it is active and has its URL.
    async fn active(&self, id: &str) -> Result<Function> {
        let until = Instant::now() + self.waits.operation;
        let mut wait = self.waits.first;
        let mut looks = Looks::default();
        loop {
            match self.api.get_function("deploy", id).await {
                Ok(function)
                    if function.state == "ACTIVE" && !function.service_config.uri.is_empty() =>
                {
                    return Ok(function);
                }
                Ok(function) if matches!(&*function.state, "FAILED" | "DELETING") => {
                    let messages: Vec<_> =
                        function.state_messages.iter().map(|m| m.message.as_str()).collect();
                    let message =
                        format!("the function is {}: {}", function.state, messages.join("; "));
                    return Err(Error::new(ErrorKind::InvalidInput, message));
                }
                Err(error) if !looks.go_on_after(&error) => return Err(error),
                Ok(_) | Err(_) if Instant::now() + wait > until => {
                    return Err(Error::new(
                        ErrorKind::Timeout,
                        "the function does not become active",
                    )
                    .with_may_have_run(false));
                }
                Ok(_) | Err(_) => {}
            }
            sleep(wait).await;
            wait = self.waits.next(wait);
        }
    }

    pub(super) async fn scale(
        &self,
        deployment: &Deployment,
        scaling: &Scaling,
    ) -> Result<Deployment> {
        let id = self.id_of(deployment);
        let at = |e: Error| e.at(Operation::new(crate::NAME, "scale").on(&deployment.name));
        scaling.validate().map_err(at)?;
        let start = Self::start_timeout_of(deployment);
        sizes::check(&deployment.scaling.overridden_by(scaling), start).map_err(at)?;
        let fields = sizes::fields(scaling, start);
        if fields.is_empty() {
            return Ok(deployment.clone());
        }
        let mask: Vec<String> = fields.keys().map(|name| format!("serviceConfig.{name}")).collect();
        let mask: Vec<&str> = mask.iter().map(String::as_str).collect();
        let body = json!({"serviceConfig": fields});
        let patch = || self.api.patch_function("scale", id, &body, &mask, &[]);
        let operation = self.when_free(patch).await.map_err(at)?;
        self.finish("scale", id, operation, &[]).await.map_err(at)?;
        self.describe(&self.active(id).await.map_err(at)?).map_err(at)
    }

    /// Those whom `Access` names, as IAM writes them. It fails early for credentials that could never call.
    async fn members(&self) -> Result<Vec<String>> {
        let account = |email: &str| format!("serviceAccount:{email}");
        match self.access {
            Access::Unchanged => Ok(Vec::new()),
            Access::Public => Ok(vec!["allUsers".to_owned()]),
            Access::Caller => {
                let mut members = vec![account(&self.api.tokens.email().await?)];
                members.extend(self.shared.as_ref().and_then(|s| s.caller.as_deref()).map(account));
                members.dedup();
                Ok(members)
            }
        }
    }
}

/// Whether the operation itself failed, so that a function in the state `FAILED` is there.
fn is_refusal_of_code(error: &Error) -> bool {
    !matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Throttled | ErrorKind::Unauthorized)
}

fn check_environment(function: &Deployable) -> Result<()> {
    let reserved = |name: &&str| RESERVED.contains(name) || name.starts_with("X_GOOGLE_");
    match function.env.names().find(reserved) {
        Some(name) => {
            Err(Error::invalid_input(format!("the environment variable {name} is reserved")))
        }
        None => Ok(()),
    }
}
