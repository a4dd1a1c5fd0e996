//! A platform's description of a function that it holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ownership::Ownership;
use crate::runtime_name::RuntimeName;
use crate::scaling::Scaling;

/// A function on a platform. Plain data without secrets, so that a run can store it and another process go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Deployment {
    /// The platform that holds it, as [`Platform::name`](crate::Platform::name) says.
    pub platform: String,
    /// The name that [`Platform::fetch_deployment`](crate::Platform::fetch_deployment) takes.
    pub name: String,
    /// The provider's own identifier, such as an ARN, a URL or a qualified name.
    pub id: String,
    /// The runtime, as the user named it.
    pub runtime: RuntimeName,
    /// Memory, timeout and instances in force, as far as the platform reports it.
    pub scaling: Scaling,
    /// The owner, if the deployment carries Falco's tags.
    pub ownership: Option<Ownership>,
    /// Further attributes by which the platform finds it again. Never a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

impl Deployment {
    /// A deployment of `name` on `platform`, with the provider's `id`.
    pub fn new(
        platform: impl Into<String>,
        name: impl Into<String>,
        id: impl Into<String>,
        runtime: RuntimeName,
    ) -> Self {
        Self {
            platform: platform.into(),
            name: name.into(),
            id: id.into(),
            runtime,
            scaling: Scaling::default(),
            ownership: None,
            attributes: BTreeMap::new(),
        }
    }

    /// Sets what is in force.
    #[must_use]
    pub fn with_scaling(mut self, scaling: Scaling) -> Self {
        self.scaling = scaling;
        self
    }

    /// Sets the owner.
    #[must_use]
    pub fn with_ownership(mut self, ownership: Option<Ownership>) -> Self {
        self.ownership = ownership;
        self
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with_attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// An attribute by name.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_survives_being_stored() {
        let deployment = Deployment::new("local", "f-1", "/tmp/f-1", "python:3".parse().unwrap())
            .with_attribute("code", "abc");
        let json = serde_json::to_string(&deployment).unwrap();
        assert_eq!(serde_json::from_str::<Deployment>(&json).unwrap(), deployment);
    }
}
