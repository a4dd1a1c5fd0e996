//! IAM: execution roles.

use std::collections::HashMap;

use serde::Deserialize;

use super::query::from_xml;
use super::{Client, RequestError, next_page};
use crate::config::Service;

/// A role.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Role {
    pub(crate) role_name: String,
    pub(crate) path: String,
    pub(crate) arn: String,
}

#[derive(Deserialize)]
struct List<T> {
    #[serde(default = "Vec::new")]
    member: Vec<T>,
}

#[derive(Deserialize)]
struct RoleAnswer {
    #[serde(rename = "CreateRoleResult", alias = "GetRoleResult")]
    result: RoleResult,
}

#[derive(Deserialize)]
struct RoleResult {
    #[serde(rename = "Role")]
    role: Role,
}

impl Client {
    pub(crate) async fn create_role(
        &self,
        name: &str,
        path: &str,
        trust: &str,
        tags: &[(String, String)],
    ) -> Result<Role, RequestError> {
        let mut parameters = vec![
            ("RoleName".to_owned(), name),
            ("Path".to_owned(), path),
            ("AssumeRolePolicyDocument".to_owned(), trust),
        ];
        for (index, (key, value)) in tags.iter().enumerate() {
            parameters.push((format!("Tags.member.{}.Key", index + 1), key));
            parameters.push((format!("Tags.member.{}.Value", index + 1), value));
        }
        let parameters: Vec<(&str, &str)> =
            parameters.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let reply = self.query(Service::Iam, "CreateRole", &parameters).await?;
        Ok(from_xml::<RoleAnswer>(&reply)?.result.role)
    }

    pub(crate) async fn get_role(&self, name: &str) -> Result<Role, RequestError> {
        let reply = self.query(Service::Iam, "GetRole", &[("RoleName", name)]).await?;
        Ok(from_xml::<RoleAnswer>(&reply)?.result.role)
    }

    /// All roles under a path, from as many pages as there are.
    pub(crate) async fn list_roles(&self, path: &str) -> Result<Vec<Role>, RequestError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            list_roles_result: Page,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Page {
            roles: Option<List<Role>>,
            marker: Option<String>,
        }
        let mut roles = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let mut parameters = vec![("PathPrefix", path)];
            parameters.extend(marker.as_deref().map(|marker| ("Marker", marker)));
            let reply = self.query(Service::Iam, "ListRoles", &parameters).await?;
            let page = from_xml::<Answer>(&reply)?.list_roles_result;
            roles.extend(page.roles.map(|list| list.member).unwrap_or_default());
            marker = next_page(marker.as_deref(), page.marker)?;
            if marker.is_none() {
                return Ok(roles);
            }
        }
    }

    pub(crate) async fn role_tags(
        &self,
        name: &str,
    ) -> Result<Vec<(String, String)>, RequestError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            list_role_tags_result: Tags,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Tags {
            tags: Option<List<Tag>>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Tag {
            key: String,
            #[serde(default)]
            value: String,
        }
        let reply = self.query(Service::Iam, "ListRoleTags", &[("RoleName", name)]).await?;
        let tags = from_xml::<Answer>(&reply)?.list_role_tags_result.tags;
        let tags = tags.map(|list| list.member).unwrap_or_default();
        Ok(tags.into_iter().map(|tag| (tag.key, tag.value)).collect())
    }

    /// Whether the policies of a user or role allow each of the actions on one of the resources.
    pub(crate) async fn simulate_principal_policy(
        &self,
        principal: &str,
        actions: &[&str],
        resources: &[String],
    ) -> Result<HashMap<String, bool>, RequestError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            simulate_principal_policy_result: Page,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Page {
            evaluation_results: Option<List<Evaluation>>,
            marker: Option<String>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Evaluation {
            eval_action_name: String,
            eval_decision: String,
        }
        let numbered = |name: &str, count: usize| -> Vec<String> {
            (1..=count).map(|index| format!("{name}.member.{index}")).collect()
        };
        let names = numbered("ActionNames", actions.len());
        let places = numbered("ResourceArns", resources.len());
        let mut decisions: HashMap<String, bool> = HashMap::new();
        let mut marker: Option<String> = None;
        loop {
            let mut parameters = vec![("PolicySourceArn", principal)];
            parameters.extend(names.iter().map(String::as_str).zip(actions.iter().copied()));
            parameters.extend(
                places.iter().map(String::as_str).zip(resources.iter().map(String::as_str)),
            );
            parameters.extend(marker.as_deref().map(|marker| ("Marker", marker)));
            let reply = self.query(Service::Iam, "SimulatePrincipalPolicy", &parameters).await?;
            let page = from_xml::<Answer>(&reply)?.simulate_principal_policy_result;
            let results = page.evaluation_results.map(|list| list.member).unwrap_or_default();
            for result in results {
                // One result for each resource, also for those of other kinds, on which the action is never allowed.
                *decisions.entry(result.eval_action_name).or_default() |=
                    result.eval_decision == "allowed";
            }
            marker = next_page(marker.as_deref(), page.marker)?;
            if marker.is_none() {
                return Ok(decisions);
            }
        }
    }

    pub(crate) async fn put_role_policy(
        &self,
        role: &str,
        policy: &str,
        document: &str,
    ) -> Result<(), RequestError> {
        let parameters = [("RoleName", role), ("PolicyName", policy), ("PolicyDocument", document)];
        self.query(Service::Iam, "PutRolePolicy", &parameters).await.map(drop)
    }

    /// A policy that is written into a role, percent-encoded as IAM returns it.
    pub(crate) async fn get_role_policy(
        &self,
        role: &str,
        policy: &str,
    ) -> Result<String, RequestError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            get_role_policy_result: Policy,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Policy {
            policy_document: String,
        }
        let parameters = [("RoleName", role), ("PolicyName", policy)];
        let reply = self.query(Service::Iam, "GetRolePolicy", &parameters).await?;
        Ok(from_xml::<Answer>(&reply)?.get_role_policy_result.policy_document)
    }

    pub(crate) async fn delete_role_policy(
        &self,
        role: &str,
        policy: &str,
    ) -> Result<(), RequestError> {
        let parameters = [("RoleName", role), ("PolicyName", policy)];
        self.query(Service::Iam, "DeleteRolePolicy", &parameters).await.map(drop)
    }

    pub(crate) async fn delete_role(&self, role: &str) -> Result<(), RequestError> {
        self.query(Service::Iam, "DeleteRole", &[("RoleName", role)]).await.map(drop)
    }
}
