//! Identifiers: cheap to clone, ordered, and readable in logs.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

/// Hexadecimal digits of the start in seconds, and of the random part.
const RUN_DIGITS: (usize, usize) = (8, 8);

impl RunId {
    /// An id for a run that starts at `started_at`: 17 characters that sort by time and fit into every provider's
    /// names, tags and labels.
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_core::RunId;
    /// use std::time::{Duration, UNIX_EPOCH};
    ///
    /// let run = RunId::starting_at(UNIX_EPOCH + Duration::from_secs(1_700_000_000), 0xbeef);
    /// assert_eq!(run.as_str(), "6553f100-0000beef");
    /// assert_eq!(run.started_at(), Some(UNIX_EPOCH + Duration::from_secs(1_700_000_000)));
    /// ```
    pub fn starting_at(started_at: SystemTime, random: u32) -> Self {
        let seconds = started_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self::from(format!("{seconds:08x}-{random:08x}"))
    }

    /// When the run started, for an id made by [`starting_at`](Self::starting_at), to the second.
    pub fn started_at(&self) -> Option<SystemTime> {
        let (seconds, random) = self.0.split_once('-')?;
        let is_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if (seconds.len(), random.len()) != RUN_DIGITS || !is_hex(seconds) || !is_hex(random) {
            // A user's own, such as a date and a name: read as a start it would be long ago.
            return None;
        }
        let seconds = u64::from_str_radix(seconds, 16).ok()?;
        Some(UNIX_EPOCH + Duration::from_secs(seconds))
    }
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

impl ActivationId {
    /// The id of one input of a batch: `ID#INDEX`, where this is the id of the activation that runs the batch.
    pub fn of_member(&self, index: usize) -> Self {
        Self::from(format!("{self}#{index}"))
    }

    /// The activation that ran the batch, and the index of the input in it, for the id of one input of a batch.
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_core::ActivationId;
    ///
    /// let batch = ActivationId::from("a-1");
    /// assert_eq!(batch.of_member(7).member(), Some((batch.clone(), 7)));
    /// assert_eq!(batch.member(), None);
    /// ```
    pub fn member(&self) -> Option<(Self, usize)> {
        let (batch, index) = self.0.rsplit_once('#')?;
        let is_number = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| Some((Self::from(batch), index.parse().ok()?)))?
    }
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

    #[test]
    fn a_run_id_of_the_users_own_has_no_start_time() {
        for id in ["nightly-7", "20261124-nightly1", "+6553f10-0000beef", "6553f100-0000BEEF"] {
            assert_eq!(RunId::from(id).started_at(), None, "{id}");
        }
    }
}
