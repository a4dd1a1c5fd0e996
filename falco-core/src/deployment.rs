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
    /// Further attributes by which the platform finds it again, and its `region` where activations do not report one. Never a
    /// secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

impl Deployment {
    /// A deployment of `name`, which is its `id` as well until [`with_id`](Self::with_id) sets another one.
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_core::{Deployment, RuntimeName};
    ///
    /// let arn = "arn:aws:lambda:eu-central-1:123456789012:function:hello";
    /// let hello = Deployment::new("hello", RuntimeName::python()).with_platform("aws").with_id(arn);
    /// ```
    pub fn new(name: impl Into<String>, runtime: RuntimeName) -> Self {
        let name = name.into();
        Self {
            platform: String::new(),
            id: name.clone(),
            name,
            runtime,
            scaling: Scaling::default(),
            ownership: None,
            attributes: BTreeMap::new(),
        }
    }

    /// Sets the platform that holds it. Each platform does, for all its deployments.
    #[must_use]
    pub fn with_platform(mut self, platform: impl Into<String>) -> Self {
        self.platform = platform.into();
        self
    }

    /// Sets the provider's own identifier.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// Sets the sizes in force.
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
        let deployment = Deployment::new("f-1", RuntimeName::python())
            .with_platform("local")
            .with_id("/tmp/f-1")
            .with_attribute("code", "abc");
        let json = serde_json::to_string(&deployment).unwrap();
        assert_eq!(serde_json::from_str::<Deployment>(&json).unwrap(), deployment);
    }
}
