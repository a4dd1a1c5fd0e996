//! The permissions that the caller needs, and those that it has, as IAM says.

use std::collections::HashMap;

use falco_core::{Error, Operation, Permission, Result};

use super::{AwsLambda, names};
use crate::client::RequestError;

/// Actions by what Falco does with them.
struct Group {
    purpose: &'static str,
    actions: &'static [&'static str],
    is_required: fn(&AwsLambda) -> bool,
}

/// The table of the crate's README.
const GROUPS: &[Group] = &[
    Group {
        purpose: "deploy, invoke, remove",
        actions: &[
            "lambda:CreateFunction",
            "lambda:GetFunction",
            "lambda:ListFunctions",
            "lambda:UpdateFunctionCode",
            "lambda:UpdateFunctionConfiguration",
            "lambda:DeleteFunction",
            "lambda:InvokeFunction",
            "lambda:TagResource",
            "lambda:ListTags",
            "iam:PassRole",
        ],
        is_required: |_| true,
    },
    Group {
        purpose: "let Falco make the role",
        actions: &[
            "iam:CreateRole",
            "iam:GetRole",
            "iam:TagRole",
            "iam:PutRolePolicy",
            "iam:DeleteRolePolicy",
            "iam:DeleteRole",
        ],
        is_required: |platform| platform.config.role.is_none(),
    },
    Group {
        purpose: "set up logs",
        actions: &["logs:CreateLogGroup", "logs:TagResource", "logs:PutRetentionPolicy"],
        is_required: |platform| platform.config.role.is_none(),
    },
    Group {
        purpose: "read and remove logs",
        actions: &["logs:FilterLogEvents", "logs:DeleteLogGroup"],
        is_required: |_| false,
    },
    Group {
        purpose: "submit and collect",
        actions: &[
            "lambda:PutFunctionEventInvokeConfig",
            "lambda:DeleteFunctionEventInvokeConfig",
            "sqs:CreateQueue",
            "sqs:GetQueueUrl",
            "sqs:TagQueue",
            "sqs:ReceiveMessage",
            "sqs:DeleteMessage",
            "sqs:DeleteQueue",
        ],
        is_required: |_| false,
    },
    Group {
        purpose: "set max_instances",
        actions: &["lambda:PutFunctionConcurrency"],
        is_required: |_| false,
    },
    Group {
        purpose: "upload through a bucket",
        actions: &["s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:ListBucket"],
        is_required: |platform| platform.config.bucket.is_some(),
    },
    Group {
        purpose: "find what runs left behind",
        actions: &[
            "iam:ListRoles",
            "iam:ListRoleTags",
            "iam:GetRolePolicy",
            "sqs:ListQueues",
            "sqs:ListQueueTags",
        ],
        is_required: |_| false,
    },
    Group {
        purpose: "start from the account's concurrency",
        actions: &["lambda:GetAccountSettings"],
        is_required: |_| false,
    },
];

impl AwsLambda {
    /// The permissions that the caller needs, and which of them it has: IAM simulates the caller's policies. Nothing is
    /// changed.
    ///
    /// The simulation is for a function of the name `function`, and the role, the queue and the log that come with it: policies
    /// may name resources. Conditions in policies may count as met. Where the caller may not ask
    /// (`iam:SimulatePrincipalPolicy`), and for the account's root, it is not known what is granted.
    ///
    /// # Errors
    ///
    /// `Unauthorized` when the credentials are refused, `Unavailable` when AWS cannot be reached.
    pub async fn permissions(&self, function: &str) -> Result<Vec<Permission>> {
        let decisions = self.decisions(function).await.map_err(|failure| {
            Error::from(failure).at(Operation::new(crate::NAME, "permissions"))
        })?;
        let permissions = GROUPS.iter().flat_map(|group| {
            let is_required = (group.is_required)(self);
            let decisions = &decisions;
            group.actions.iter().map(move |action| {
                Permission::new(*action, group.purpose)
                    .with_required(is_required)
                    .with_granted(decisions.get(*action).copied())
            })
        });
        Ok(permissions.collect())
    }

    /// The decision of IAM for each action; none where it does not say.
    async fn decisions(&self, function: &str) -> Result<HashMap<String, bool>, RequestError> {
        let caller = self.client.caller().await?;
        let Some(principal) = principal(&caller) else { return Ok(HashMap::new()) };
        let actions: Vec<&str> = GROUPS.iter().flat_map(|group| group.actions).copied().collect();
        let resources = self.resources(&principal, function);
        match self.client.simulate_principal_policy(&principal, &actions, &resources).await {
            Err(failure) if failure.is_forbidden() || failure.is_not_found() => Ok(HashMap::new()),
            decided => decided,
        }
    }
}

impl AwsLambda {
    /// The ARNs of everything that belongs to a function.
    fn resources(&self, principal: &str, function: &str) -> Vec<String> {
        let partition = principal.split(':').nth(1).unwrap_or("aws");
        let account = names::account(principal).unwrap_or_default();
        let region = self.config.region();
        let own = |service: &str, name: &str| {
            format!("arn:{partition}:{service}:{region}:{account}:{name}")
        };
        let role = match &self.config.role {
            Some(role) if role.starts_with("arn:") => role.clone(),
            Some(role) => format!("arn:{partition}:iam::{account}:role/{role}"),
            None => {
                let path = names::role_path(function, region);
                let name = names::role(function, region);
                format!("arn:{partition}:iam::{account}:role{path}{name}")
            }
        };
        let mut resources = vec![
            own("lambda", &format!("function:{function}")),
            own("sqs", &names::queue(function)),
            own("logs", &format!("log-group:{}:*", names::log_group(function))),
            own("logs", &format!("log-group:{}", names::log_group(function))),
            role,
        ];
        if let Some(bucket) = &self.config.bucket {
            let object = names::object_prefix(function);
            resources.push(format!("arn:{partition}:s3:::{bucket}"));
            resources.push(format!("arn:{partition}:s3:::{bucket}/{object}code.zip"));
        }
        resources
    }
}

/// The user or role whose policies decide: a session of a role has those of the role. The account's root has none.
fn principal(caller: &str) -> Option<String> {
    let (rest, name) = caller.split_once(':').map(|_| caller.rsplit_once(':'))??;
    match name.split('/').collect::<Vec<_>>().as_slice() {
        ["root"] => None,
        ["assumed-role", role, _session] => {
            Some(format!("{}:role/{role}", rest.replacen(":sts:", ":iam:", 1)))
        }
        _ => Some(caller.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_judged_by_its_role() {
        for (caller, expected) in [
            ("arn:aws:iam::123456789012:user/ada", Some("arn:aws:iam::123456789012:user/ada")),
            (
                "arn:aws-cn:sts::123456789012:assumed-role/admin/ada@work",
                Some("arn:aws-cn:iam::123456789012:role/admin"),
            ),
            ("arn:aws:iam::123456789012:root", None),
        ] {
            assert_eq!(principal(caller).as_deref(), expected, "{caller}");
        }
    }

    #[test]
    fn the_readme_lists_every_action() {
        let readme = include_str!("../../README.md");
        for action in GROUPS.iter().flat_map(|group| group.actions) {
            let (_, name) = action.split_once(':').unwrap();
            assert!(readme.contains(&format!("`{name}`")) || readme.contains(action), "{action}");
        }
    }
}
