//! The log group of a function.

use std::collections::BTreeMap;

use falco_core::{Error, ErrorKind, Result};

use super::AwsLambda;
use super::names;
use crate::client::RequestError;

impl AwsLambda {
    /// Creates the function's log group, or finds it, and sets how long lines are kept.
    ///
    /// Lambda would create one itself, without tags and without an end to its lines. A role that Falco made may not
    /// create it: without the group, the function would have no log at all.
    pub(super) async fn ensure_log_group(
        &self,
        function: &str,
        tags: &BTreeMap<String, String>,
        role_is_ours: bool,
    ) -> Result<()> {
        match self.make_log_group(function, tags).await {
            Ok(()) => Ok(()),
            Err(failure) if failure.is_forbidden() && !role_is_ours => {
                let group = names::log_group(function);
                tracing::warn!(
                    error = %Error::from(failure),
                    "the log group {group} could not be set up: Lambda creates it, and its lines never expire"
                );
                Ok(())
            }
            Err(failure) => {
                let error = Error::from(failure);
                Err(match error.kind() {
                    ErrorKind::Forbidden => error.with_hint(
                        "allow logs:CreateLogGroup, logs:TagResource and logs:PutRetentionPolicy, or set a role \
                         (AwsConfigBuilder::role, FALCO_AWS_ROLE) that may create log groups",
                    ),
                    _ => error,
                })
            }
        }
    }

    async fn make_log_group(
        &self,
        function: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), RequestError> {
        let group = names::log_group(function);
        match self.client.create_log_group(&group, tags).await {
            Err(failure) if failure.code() == Some("ResourceAlreadyExistsException") => {}
            result => result?,
        }
        self.client.put_retention_policy(&group, self.config.log_retention_days).await
    }
}
