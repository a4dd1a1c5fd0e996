//! The role that functions run in.

use std::collections::BTreeMap;

use falco_core::{Error, ErrorKind, Result};
use serde_json::json;

use super::AwsLambda;
use super::names::{self, ROLE_PATH};
use crate::client::{RequestError, encode};

/// Lets Lambda take the role.
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

/// The inline policy with all that a function may do: write its log, and send to its queue.
const POLICY: &str = "falco";

/// A role that functions can run in.
#[derive(Debug)]
pub(super) struct ExecutionRole {
    pub(super) arn: String,
    /// Whether Falco made it, so that IAM may not know it everywhere yet.
    pub(super) is_ours: bool,
}

impl AwsLambda {
    /// The role that was given, or one of the function's own.
    ///
    /// Each step may be repeated: a deployment that was stopped half-way goes on here.
    pub(super) async fn ensure_role(
        &self,
        function: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<ExecutionRole> {
        if let Some(given) = &self.config.role {
            let arn = self.given_role(given).await?;
            return Ok(ExecutionRole { arn, is_ours: false });
        }
        let tags: Vec<_> = tags.clone().into_iter().collect();
        let (name, path) = (self.role_name(function), self.role_path(function));
        let role = match self.client.create_role(&name, &path, TRUST, &tags).await {
            Err(failure) if failure.code() == Some("EntityAlreadyExists") => {
                self.client.get_role(&name).await?
            }
            other => other.map_err(|failure| {
                let error = Error::from(failure);
                match error.kind() {
                    ErrorKind::Forbidden => error
                        .with_hint("set a role (AwsConfigBuilder::role, FALCO_AWS_ROLE), or allow iam:CreateRole"),
                    _ => error,
                }
            })?,
        };
        if role.path != path {
            let message = format!("the role {} exists, and Falco did not make it", role.arn);
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_platform(crate::NAME)
                .with_hint(
                    "set it as the role (AwsConfigBuilder::role, FALCO_AWS_ROLE), or rename the function",
                ));
        }
        let Some(account) = names::account(&role.arn) else {
            let message = format!("invalid ARN {:?} of the role: it has no account", role.arn);
            return Err(Error::new(ErrorKind::Protocol, message).with_platform(crate::NAME));
        };
        let policy = self.policy(account, function);
        self.client.put_role_policy(&name, POLICY, &policy).await?;
        Ok(ExecutionRole { arn: role.arn, is_ours: true })
    }

    /// The ARN of a role that was given by ARN, or by its name in the caller's account.
    async fn given_role(&self, role: &str) -> Result<String> {
        if role.starts_with("arn:") {
            return Ok(role.to_owned());
        }
        let account = self.client.account().await?;
        let partition = self.client.partition.name;
        Ok(format!("arn:{partition}:iam::{account}:role/{}", role.trim_start_matches('/')))
    }

    /// The permissions of a function's own role.
    ///
    /// It may write into its log group and not create it: Lambda writes a log after it has answered, and would bring
    /// back a group that `remove` has deleted. The queue comes later; by then IAM knows the policy everywhere.
    fn policy(&self, account: &str, function: &str) -> String {
        let partition = self.client.partition.name;
        let region = &self.client.region;
        let (group, queue) = (names::log_group(function), names::queue(function));
        let statements = [
            json!({
                "Effect": "Allow",
                "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
                "Resource": format!("arn:{partition}:logs:{region}:{account}:log-group:{group}:*"),
            }),
            json!({
                "Effect": "Allow",
                "Action": "sqs:SendMessage",
                "Resource": format!("arn:{partition}:sqs:{region}:{account}:{queue}"),
            }),
        ];
        json!({"Version": "2012-10-17", "Statement": statements}).to_string()
    }

    fn role_name(&self, function: &str) -> String {
        names::role(function, &self.client.region)
    }

    fn role_path(&self, function: &str) -> String {
        names::role_path(function, &self.client.region)
    }

    /// Whether `arn` is that of the function's own role. Earlier versions of Falco gave one role to the functions of
    /// one name in all regions.
    pub(super) fn is_own_role(&self, function: &str, arn: &str) -> bool {
        arn.ends_with(&format!(":role{}{}", self.role_path(function), self.role_name(function)))
    }

    /// Removes the function's own role, if it has one. True when there was one.
    pub(super) async fn remove_role(&self, function: &str) -> Result<bool, RequestError> {
        let (name, path) = (self.role_name(function), self.role_path(function));
        let removed = match self.client.get_role(&name).await {
            Err(failure) if failure.is_not_found() => false,
            role => role?.path == path && self.delete_role(&name).await?,
        };
        Ok(self.remove_old_role(function).await? || removed)
    }

    /// Removes the role that an earlier version of Falco has made for the function in this region.
    async fn remove_old_role(&self, function: &str) -> Result<bool, RequestError> {
        let role = match self.client.get_role(function).await {
            Err(failure) if failure.is_not_found() => return Ok(false),
            role => role?,
        };
        if role.path != ROLE_PATH || !self.is_of_this_region(function).await? {
            return Ok(false);
        }
        self.delete_role(function).await
    }

    /// Whether a role that an earlier version of Falco has made serves this region, as its policy says. One without a
    /// policy serves no region: a deployment was stopped before Lambda knew of it.
    pub(super) async fn is_of_this_region(&self, role: &str) -> Result<bool, RequestError> {
        let part = format!(":sqs:{}:", self.client.region);
        match self.client.get_role_policy(role, POLICY).await {
            Err(failure) if failure.is_not_found() => Ok(true),
            // IAM percent-encodes the policies that it returns.
            policy => {
                let policy = policy?;
                Ok(policy.contains(&encode(&part, "")) || policy.contains(&part))
            }
        }
    }

    /// Removes a role: first what is attached to it, or IAM refuses.
    async fn delete_role(&self, role: &str) -> Result<bool, RequestError> {
        let missing_is_fine = |result: Result<(), RequestError>| match result {
            Err(failure) if failure.is_not_found() => Ok(()),
            result => result,
        };
        missing_is_fine(self.client.delete_role_policy(role, POLICY).await)?;
        missing_is_fine(self.client.delete_role(role).await)?;
        Ok(true)
    }
}
