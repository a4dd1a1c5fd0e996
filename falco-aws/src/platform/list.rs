//! Finding what Falco made, also when it was stopped in the middle.

use std::collections::BTreeMap;

use falco_core::Deployment;

use super::AwsLambda;
use super::names::{self, DESCRIPTION, QUEUE_PREFIX, ROLE_PATH};
use crate::client::RequestError;

impl AwsLambda {
    /// Functions, and roles and queues whose function is not there: one request for each page of functions, and one
    /// for each thing of Falco's.
    pub(super) async fn list(&self) -> Result<Vec<Deployment>, RequestError> {
        let mut found = BTreeMap::new();
        let mut marker: Option<String> = None;
        loop {
            let (functions, next) = self.client.list_functions(marker.as_deref()).await?;
            for function in functions.iter().filter(|f| f.description == DESCRIPTION) {
                match self.client.get_function(&function.function_name).await {
                    Ok(function) => {
                        let deployment = self.describe(&function);
                        found.insert(deployment.name.clone(), deployment);
                    }
                    // Somebody removes it at this very moment.
                    Err(failure) if failure.is_not_found() => {}
                    Err(failure) => return Err(failure),
                }
            }
            marker = next;
            if marker.is_none() {
                break;
            }
        }
        for (name, tags) in
            self.lone_roles(&found).await?.into_iter().chain(self.lone_queues(&found).await?)
        {
            found.entry(name.clone()).or_insert_with(|| self.partial(&name, &tags));
        }
        Ok(found.into_values().collect())
    }

    /// Roles of this region whose function is not there. Without `iam:ListRoles`, Falco cannot have created roles: they
    /// were configured.
    async fn lone_roles(
        &self,
        found: &BTreeMap<String, Deployment>,
    ) -> Result<Vec<(String, BTreeMap<String, String>)>, RequestError> {
        let roles = match self.client.list_roles(ROLE_PATH).await {
            Err(failure) if failure.is_forbidden() => return Ok(Vec::new()),
            roles => roles?,
        };
        let mut lone = Vec::new();
        for role in roles {
            let is_old = role.path == ROLE_PATH;
            let function = match names::function_of_role(&role.path, &self.client.region) {
                Some(function) => function,
                None if is_old => &role.role_name,
                None => continue,
            };
            if found.contains_key(function)
                || (is_old && !self.is_known_to_be_ours(&role.role_name).await?)
            {
                continue;
            }
            match self.client.role_tags(&role.role_name).await {
                Ok(tags) => lone.push((function.to_owned(), tags.into_iter().collect())),
                Err(failure) if failure.is_not_found() => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(lone)
    }

    /// Whether a role that an earlier version of Falco has made is of this region. One whose policy may not be read
    /// may serve a function of another region.
    async fn is_known_to_be_ours(&self, role: &str) -> Result<bool, RequestError> {
        match self.is_of_this_region(role).await {
            Err(failure) if failure.is_forbidden() => Ok(false),
            is_ours => is_ours,
        }
    }

    async fn lone_queues(
        &self,
        found: &BTreeMap<String, Deployment>,
    ) -> Result<Vec<(String, BTreeMap<String, String>)>, RequestError> {
        let urls = match self.client.list_queues(QUEUE_PREFIX).await {
            Err(failure) if failure.is_forbidden() => return Ok(Vec::new()),
            urls => urls?,
        };
        let mut lone = Vec::new();
        for url in urls {
            let queue = url.rsplit('/').next().unwrap_or_default();
            let Some(name) = queue.strip_prefix(QUEUE_PREFIX) else { continue };
            if found.contains_key(name) {
                continue;
            }
            match self.client.queue_tags(&url).await {
                // Without our tags it is somebody else's queue with a similar name.
                Ok(tags) if names::runtime(&tags).is_some() => lone.push((name.to_owned(), tags)),
                Ok(_) => {}
                Err(failure) if failure.is_not_found() => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(lone)
    }

    fn partial(&self, name: &str, tags: &BTreeMap<String, String>) -> Deployment {
        let runtime = names::runtime(tags).unwrap_or_else(super::describe::unknown_runtime);
        Deployment::new(name, runtime)
            .with_platform(crate::NAME)
            .with_ownership(names::ownership(tags))
    }
}
