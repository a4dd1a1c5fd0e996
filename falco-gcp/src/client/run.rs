//! Cloud Run: the policy that says which callers may call a function belongs to its Run service, not to the function.

use falco_core::{Error, ErrorKind, Operation, Result};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Api, Call};

const INVOKER: &str = "roles/run.invoker";

/// How often a policy that somebody else changes at the same time is read again.
const TRIES: u32 = 8;

/// An IAM policy; fields that Falco does not know go back as they came.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Policy {
    #[serde(default)]
    bindings: Vec<Binding>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Binding {
    role: String,
    #[serde(default)]
    members: Vec<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl Policy {
    /// Whether the policy changed.
    fn grant(&mut self, members: &[String]) -> bool {
        // A binding with a condition is somebody else's business.
        let ours = self
            .bindings
            .iter()
            .position(|binding| binding.role == INVOKER && !binding.rest.contains_key("condition"));
        let binding = match ours {
            Some(index) => &mut self.bindings[index],
            None => {
                self.bindings.push(Binding {
                    role: INVOKER.to_owned(),
                    members: Vec::new(),
                    rest: Map::new(),
                });
                let last = self.bindings.len() - 1;
                &mut self.bindings[last]
            }
        };
        let before = binding.members.len();
        for member in members {
            if !binding.members.contains(member) {
                binding.members.push(member.clone());
            }
        }
        binding.members.len() != before
    }
}

impl Api {
    /// Lets `members` call the Run service of a function, besides those who may already.
    pub(crate) async fn grant_invoker(
        &self,
        function: &str,
        service: &str,
        members: &[String],
    ) -> Result<()> {
        let call = |method, verb: &str| {
            let path = format!("v2/{service}:{verb}");
            Call::new("deploy", method, &self.endpoints.run, &path).map(|call| call.about(function))
        };
        for _ in 0..TRIES {
            let mut policy: Policy = self.fetch(call(Method::GET, "getIamPolicy")?).await?;
            if !policy.grant(members) {
                return Ok(());
            }
            let set = call(Method::POST, "setIamPolicy")?.json(&json!({"policy": policy}))?;
            match self.call(set).await {
                Ok(_) => return Ok(()),
                // The policy's etag is no longer the newest: somebody else has changed it meanwhile.
                Err(error) if error.kind() == ErrorKind::Conflict => continue,
                Err(error) => return Err(explained(error)),
            }
        }
        Err(Error::new(ErrorKind::Conflict, "other programs changed the access policy in each attempt to set it")
            .at(Operation::new(crate::NAME, "deploy").on(function))
            .with_hint("deploy again when they have finished, or leave the policy alone with Access::Unchanged")
            .with_retryable(true))
    }
}

fn explained(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Other => error.with_hint(
            "an organisation policy forbids this access; use Access::Caller, or Access::Unchanged when the project's \
             own policies let the caller in",
        ),
        ErrorKind::Forbidden => error.with_hint(
            "granting access needs run.services.setIamPolicy (roles/run.admin); or grant roles/run.invoker on the \
             project once and deploy with Access::Unchanged",
        ),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_keeps_what_is_there_and_is_made_once() {
        let mut policy: Policy = serde_json::from_value(json!({
            "version": 3, "etag": "abc",
            "bindings": [
                {"role": "roles/viewer", "members": ["user:ada"]},
                {"role": INVOKER, "members": ["user:eve"], "condition": {"title": "by day"}},
            ],
        }))
        .unwrap();
        assert!(policy.grant(&["serviceAccount:f".into()]));
        assert!(!policy.grant(&["serviceAccount:f".into()]));
        assert_eq!(
            serde_json::to_value(&policy).unwrap(),
            json!({
                "version": 3, "etag": "abc",
                "bindings": [
                    {"role": "roles/viewer", "members": ["user:ada"]},
                    {"role": INVOKER, "members": ["user:eve"], "condition": {"title": "by day"}},
                    {"role": INVOKER, "members": ["serviceAccount:f"]},
                ],
            })
        );
    }
}
