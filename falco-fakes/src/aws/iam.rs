//! IAM and STS.

use super::reply::{xml, xml_error};
use super::world::{ACCOUNT, Role, World};
use crate::http::{Reply, Request, lock};

pub(super) fn handle(world: &mut World, request: &Request) -> Reply {
    let name = request.form("RoleName").unwrap_or_default();
    let operation = request.operation.as_str();
    match operation {
        "GetCallerIdentity" => xml(
            operation,
            &format!("<Arn>arn:aws:iam::{ACCOUNT}:user/ada</Arn><Account>{ACCOUNT}</Account>"),
        ),
        "SimulatePrincipalPolicy" => {
            let asked =
                (1..).map_while(|index| request.form(&format!("ActionNames.member.{index}")));
            let results: String = asked
                .map(|action| {
                    let denied = world.settings.denied_actions.contains(&action);
                    let decision = if denied { "implicitDeny" } else { "allowed" };
                    format!(
                        "<member><EvalActionName>{action}</EvalActionName><EvalResourceName>*</EvalResourceName>\
                         <EvalDecision>{decision}</EvalDecision></member>"
                    )
                })
                .collect();
            let results = format!("<EvaluationResults>{results}</EvaluationResults>");
            xml(operation, &format!("{results}<IsTruncated>false</IsTruncated>"))
        }
        "CreateRole" if lock(&world.roles).contains_key(&name) => {
            xml_error(409, "EntityAlreadyExists", "Role with name exists.")
        }
        "CreateRole" if !is_valid(&name) => {
            xml_error(400, "ValidationError", "Value at 'roleName' failed to satisfy constraint")
        }
        "CreateRole" => {
            let number =
                |index: usize, part: &str| request.form(&format!("Tags.member.{index}.{part}"));
            let tags =
                (1..).map_while(|index| Some((number(index, "Key")?, number(index, "Value")?)));
            let role = Role {
                path: request.form("Path").unwrap_or_else(|| "/".into()),
                tags: tags.collect(),
                unknown_for: world.settings.role_unknown_for,
                ..Role::default()
            };
            let described = format!("<Role>{}</Role>", describe(&name, &role));
            lock(&world.roles).insert(name, role);
            xml(operation, &described)
        }
        "ListRoles" => {
            let prefix = request.form("PathPrefix").unwrap_or_default();
            let roles = lock(&world.roles);
            let roles = roles.iter().filter(|(_, role)| role.path.starts_with(&prefix));
            let members: String = roles
                .map(|(name, role)| format!("<member>{}</member>", describe(name, role)))
                .collect();
            xml(operation, &format!("<Roles>{members}</Roles><IsTruncated>false</IsTruncated>"))
        }
        _ => on_role(world, &name, request),
    }
}

fn on_role(world: &World, name: &str, request: &Request) -> Reply {
    let operation = request.operation.as_str();
    let missing = |what: &str| xml_error(404, "NoSuchEntity", what);
    let mut roles = lock(&world.roles);
    let Some(role) = roles.get_mut(name) else { return missing("The role cannot be found.") };
    let policy = request.form("PolicyName").unwrap_or_default();
    match operation {
        "GetRole" => xml(operation, &format!("<Role>{}</Role>", describe(name, role))),
        "ListRoleTags" => {
            let tags: String = role
                .tags
                .iter()
                .map(|(key, value)| {
                    format!("<member><Key>{key}</Key><Value>{value}</Value></member>")
                })
                .collect();
            xml(operation, &format!("<Tags>{tags}</Tags>"))
        }
        "PutRolePolicy" => {
            role.inline.insert(policy, request.form("PolicyDocument").unwrap_or_default());
            xml(operation, "")
        }
        "GetRolePolicy" => match role.inline.get(&policy) {
            Some(document) => {
                let document: String = document.bytes().map(percent_encoded).collect();
                xml(operation, &format!("<PolicyDocument>{document}</PolicyDocument>"))
            }
            None => missing("The policy cannot be found."),
        },
        "DeleteRolePolicy" if role.inline.remove(&policy).is_some() => xml(operation, ""),
        "DeleteRolePolicy" => missing("The policy cannot be found."),
        "DeleteRole" if !role.inline.is_empty() => {
            xml_error(409, "DeleteConflict", "Cannot delete entity, must delete policies first.")
        }
        "DeleteRole" => {
            roles.remove(name);
            xml(operation, "")
        }
        other => xml_error(400, "InvalidAction", other),
    }
}

/// A byte as IAM writes it in a policy that it returns.
fn percent_encoded(byte: u8) -> String {
    match char::from(byte) {
        c if c.is_ascii_alphanumeric() || "-_.~".contains(c) => c.to_string(),
        _ => format!("%{byte:02X}"),
    }
}

/// Whether IAM takes `name` for a role.
fn is_valid(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+=,.@-_".contains(c);
    (1..=64).contains(&name.len()) && name.chars().all(allowed)
}

fn describe(name: &str, role: &Role) -> String {
    let path = &role.path;
    format!(
        "<Path>{path}</Path><RoleName>{name}</RoleName><RoleId>AROA</RoleId>\
         <Arn>arn:aws:iam::{ACCOUNT}:role{path}{name}</Arn><CreateDate>2026-11-23T17:55:07Z</CreateDate>"
    )
}
