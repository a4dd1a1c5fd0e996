//! Identifiers: cheap to clone, ordered, and readable in logs.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps `id`.
            pub fn new(id: impl Into<Arc<str>>) -> Self {
                Self(id.into())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<T: Into<Arc<str>>> From<T> for $name {
            fn from(id: T) -> Self {
                Self(id.into())
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

id! {
    /// One execution of a driver's plan. Deployments that a run makes carry it, so that they can be found again.
    RunId
}

id! {
    /// The name of a stage, unique in its plan.
    StageName
}

id! {
    /// One unit of work, unique in its stage; it stays the same through retries and speculative copies.
    ///
    /// Derived ids depend on upstream ids only, never on the order of arrival: see
    /// [`Derivation`](crate::Derivation).
    InvocationId
}

id! {
    /// The platform's name for one run of a function. Each attempt of an invocation is an activation of its own.
    ActivationId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_like_strings_and_sort_like_them() {
        let mut ids = [InvocationId::from("b"), InvocationId::from("a.1")];
        ids.sort();
        assert_eq!(ids[0], "a.1");
        assert_eq!(format!("{:?} {:>3}", ids[1], ids[1]), "\"b\"   b");
        assert_eq!(serde_json::to_string(&ids[0]).unwrap(), "\"a.1\"");
    }
}
