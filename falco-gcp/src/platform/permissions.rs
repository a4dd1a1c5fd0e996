//! The permissions that the caller needs, and those that it has, as Google says.

use std::collections::BTreeSet;

use falco_core::{ErrorKind, Permission, Result};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::GcpFunctions;
use crate::client::Call;
use crate::config::Access;

/// Permissions by what Falco does with them.
const DEPLOY: &[&str] = &[
    "cloudfunctions.functions.create",
    "cloudfunctions.functions.delete",
    "cloudfunctions.functions.get",
    "cloudfunctions.functions.list",
    "cloudfunctions.functions.sourceCodeSet",
    "cloudfunctions.functions.update",
    "cloudfunctions.operations.get",
    "cloudfunctions.runtimes.list",
];
const GRANT: &[&str] = &["run.services.getIamPolicy", "run.services.setIamPolicy"];
const ACT: &[&str] = &["iam.serviceAccounts.actAs"];
const LOGS: &[&str] = &["logging.logEntries.list"];
const SUBMIT: &[&str] = &[
    "cloudtasks.queues.create",
    "cloudtasks.queues.get",
    "cloudtasks.tasks.create",
    "cloudtasks.tasks.delete",
    "cloudtasks.tasks.list",
    "storage.buckets.create",
    "storage.buckets.get",
    "storage.objects.create",
    "storage.objects.delete",
    "storage.objects.get",
    "storage.objects.list",
];

#[derive(Deserialize, Default)]
#[serde(default)]
struct Held {
    permissions: BTreeSet<String>,
}

impl GcpFunctions {
    /// The permissions that the caller needs, and which of them it has in the project. Nothing is changed.
    ///
    /// A grant on a single account, bucket or queue only counts as missing, and so is not called required:
    /// `iam.serviceAccounts.actAs` and those of submissions. Where Google does not say (the Resource Manager API is not
    /// enabled), it is not known what is granted.
    ///
    /// # Errors
    ///
    /// `Unauthorized` when the credentials are refused, `Unavailable` when Google cannot be reached.
    pub async fn permissions(&self) -> Result<Vec<Permission>> {
        let grants = !matches!(self.0.access, Access::Unchanged);
        let groups = [
            ("deploy and remove", DEPLOY, true),
            ("let the caller in", GRANT, grants),
            ("run functions as a service account", ACT, false),
            ("read logs", LOGS, false),
            ("submit and collect", SUBMIT, false),
        ];
        let names = || groups.iter().flat_map(|(_, names, _)| *names);
        let held = self.held(&names().copied().collect::<Vec<_>>()).await?;
        let permissions = groups.iter().flat_map(|(purpose, names, required)| {
            let held = held.as_ref();
            names.iter().map(move |name| {
                Permission::new(*name, *purpose)
                    .with_required(*required)
                    .with_granted(held.map(|held| held.contains(*name)))
            })
        });
        Ok(permissions.collect())
    }

    async fn held(&self, names: &[&str]) -> Result<Option<BTreeSet<String>>> {
        let api = &self.0.api;
        let path = format!("v1/projects/{}:testIamPermissions", api.project);
        let call = Call::new("permissions", Method::POST, &api.endpoints.resource_manager, &path)?;
        match api.fetch::<Held>(call.json(&json!({"permissions": names}))?).await {
            Ok(held) => Ok(Some(held.permissions)),
            // The API is not enabled in the project, or the project may not be looked at.
            Err(error) if matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::NotFound) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
