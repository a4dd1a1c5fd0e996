//! Permissions of a caller.

use serde::{Deserialize, Serialize};

use crate::setters;

/// A permission of a platform's caller, as the provider names it, and whether the caller has it.
///
/// # Examples
///
/// ```
/// use falco_core::Permission;
///
/// let create = Permission::new("lambda:CreateFunction", "deploy").with_granted(false);
/// assert!(create.required && create.is_missing());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Permission {
    /// The provider's name, such as `lambda:CreateFunction`.
    pub name: String,
    /// The use that Falco makes of it, such as `deploy`.
    pub purpose: String,
    /// Whether no run can do without it.
    pub required: bool,
    /// Whether the caller has it; `None` where the provider does not say.
    pub granted: Option<bool>,
}

impl Permission {
    /// A permission that every run needs, of which it is not known whether the caller has it.
    pub fn new(name: impl Into<String>, purpose: impl Into<String>) -> Self {
        Self { name: name.into(), purpose: purpose.into(), required: true, granted: None }
    }

    setters! {
        /// Sets whether no run can do without it.
        with_required(required: bool);
        /// Sets whether the caller has it.
        with_granted(granted: Option<bool>);
    }

    /// Whether the provider says that the caller does not have it.
    pub fn is_missing(&self) -> bool {
        self.granted == Some(false)
    }
}
