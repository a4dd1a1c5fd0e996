//! The role that functions run in.

use std::collections::BTreeMap;

use falco_core::{Error, ErrorKind, Result};
use serde_json::json;

use super::AwsLambda;
use super::names::{self, ROLE_PATH};
use crate::client::Failure;

/// Lets Lambda take the role.
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

/// The inline policy that lets a function's results into its queue.
const RESULTS_POLICY: &str = "falco-results";

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
        let role = match self.client.create_role(function, ROLE_PATH, TRUST, &tags).await {
            Err(failure) if failure.code() == Some("EntityAlreadyExists") => {
                self.client.get_role(function).await?
            }
            other => other.map_err(|failure| {
                let error = Error::from(failure);
                match error.kind() {
                    ErrorKind::Forbidden => error
                        .with_hint("pass a role (--role, FALCO_AWS_ROLE), or allow iam:CreateRole"),
                    _ => error,
                }
            })?,
        };
        if role.path != ROLE_PATH {
            let message = format!("there is a role {} already, and it is not Falco's", role.arn);
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_platform(crate::PLATFORM)
                .with_hint(
                    "pass it as the role (--role, FALCO_AWS_ROLE), or rename the function",
                ));
        }
        self.client.attach_role_policy(function, &self.logging_policy()).await?;
        if let Some(account) = names::account(&role.arn) {
            let policy = self.results_policy(account, function);
            self.client.put_role_policy(function, RESULTS_POLICY, &policy).await?;
        }
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

    fn logging_policy(&self) -> String {
        let partition = self.client.partition.name;
        format!("arn:{partition}:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole")
    }

    /// Set up with the role, although the queue comes later: by then IAM knows it everywhere.
    fn results_policy(&self, account: &str, function: &str) -> String {
        let partition = self.client.partition.name;
        let region = &self.client.region;
        let queue = names::queue(function);
        let statement = json!({
            "Effect": "Allow",
            "Action": "sqs:SendMessage",
            "Resource": format!("arn:{partition}:sqs:{region}:{account}:{queue}"),
        });
        json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()
    }

    /// Removes the function's own role, if it has one: first what is attached to it, or IAM refuses. True when there
    /// was one.
    pub(super) async fn remove_role(&self, function: &str) -> Result<bool, Failure> {
        let role = match self.client.get_role(function).await {
            Err(failure) if failure.is_not_found() => return Ok(false),
            role => role?,
        };
        if role.path != ROLE_PATH {
            return Ok(false);
        }
        let missing_is_fine = |result: Result<(), Failure>| match result {
            Err(failure) if failure.is_not_found() => Ok(()),
            result => result,
        };
        let policy = self.logging_policy();
        missing_is_fine(self.client.detach_role_policy(function, &policy).await)?;
        missing_is_fine(self.client.delete_role_policy(function, RESULTS_POLICY).await)?;
        missing_is_fine(self.client.delete_role(function).await)?;
        Ok(true)
    }
}
