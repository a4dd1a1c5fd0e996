//! One platform that is made of several.

mod asking;
mod capabilities;
mod deployments;
mod part;
mod parts;
mod questions;
mod send;
mod submissions;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

use falco_core::{AsyncPlatform, Error, Platform, Result, async_trait, forward};

pub use self::part::Part;
use self::parts::Parts;
use crate::congestion::Gate;
use crate::retry::Retry;
use crate::stack::Stack;

/// A platform that is made of several: a function is deployed on each, and each invocation runs on one of them.
///
/// Each part has a congestion control of its own. An invocation that one part throttles, or that does not reach it, goes to
/// another; and so does an idempotent one of which nobody knows whether it ran. A part that goes down in a run costs the
/// invocations that it has in flight and that are not idempotent: these end as unknown. While it is down, the others get
/// everything, but for one call now and then that tries whether it is back. Calls that wait for its congestion control are
/// not sent to it: they go to another.
///
/// An activation that a part had taken before it went down goes to another when it could not be asked for ten seconds,
/// and another part answers. Only the process that submitted it knows whether that is safe: what is not idempotent, or was
/// submitted by an earlier process, is waited for as long as outages are.
///
/// [`Activation::attribute`](falco_core::Activation::attribute) `platform` says where an activation ran, and its id begins
/// with it. Removing a function removes it everywhere. Limits are the narrowest of all parts.
///
/// # Examples
///
/// This machine first, and a cloud for what it has no room for:
///
/// ```
/// # use falco_core::{AsyncPlatform, Result};
/// use falco_layers::{Part, Share, Spread};
///
/// # fn demo(local: impl AsyncPlatform, aws: impl AsyncPlatform) -> Result<()> {
/// let spread = Spread::new(Share::Overflow, [Part::new(local).with_concurrency(4), Part::new(aws)])?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Spread {
    platform: Arc<dyn AsyncPlatform>,
    gates: Vec<(String, Gate)>,
}

/// How invocations are shared among the parts of a [`Spread`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Share {
    /// By [weight](Part::with_weight).
    Weight,
    /// To the part with the most room, as its congestion control sees it.
    #[default]
    FreeCapacity,
    /// To the cheapest part that has room. A part of unknown prices is the most expensive one.
    Price,
    /// To the first part, in the order given, that has room.
    Overflow,
}

impl Spread {
    /// Spreads over `parts`, each in the default layers.
    ///
    /// # Errors
    ///
    /// As [`with_stack`](Self::with_stack).
    pub fn new(share: Share, parts: impl IntoIterator<Item = Part>) -> Result<Self> {
        Self::with_stack(share, parts, &Stack::new())
    }

    /// Spreads over `parts`. Each gets the layers of `stack` with a gate of its own, but for retries, the patience in an
    /// outage and the journal: these are around all of them. A cap holds for each part.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for no parts, for one platform twice, for a weight that is not a positive number, and as
    /// [`Stack::wrap`].
    pub fn with_stack(
        share: Share,
        parts: impl IntoIterator<Item = Part>,
        stack: &Stack,
    ) -> Result<Self> {
        let parts: Vec<Part> = parts.into_iter().collect();
        if parts.is_empty() {
            return Err(Error::invalid_input("a spread has no platform: give it one or more"));
        }
        let mut names = HashSet::new();
        for part in &parts {
            part.validate()?;
            if !names.insert(part.name.as_str()) {
                let message = format!("platform {:?} is in the spread twice", part.name);
                return Err(Error::invalid_input(message)
                    .with_hint("leave it out once, or distinguish them by Part::named"));
            }
        }
        let members =
            parts.into_iter().map(|part| part.connect(stack)).collect::<Result<Vec<_>>>()?;
        let gates =
            members.iter().map(|member| (member.name.clone(), member.gate.clone())).collect();
        let mut platform: Arc<dyn AsyncPlatform> =
            Arc::new(Parts::new(share, members, stack.retries().outage_patience));
        if let Some(journal) = stack.journal() {
            platform = journal.clone().layer_over_parts(platform);
        }
        let platform = Arc::new(Retry::new(platform, stack.retries()).with_paced_attempts(true));
        Ok(Self { platform, gates })
    }

    /// The gate of each part, by its name.
    pub fn gates(&self) -> &[(String, Gate)] {
        &self.gates
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Platform for Spread {
    forward! { self => self.platform;
        name, capabilities, account, deploy, fetch_deployment, list_deployments, scale, remove,
        invoke, watch_outages
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl AsyncPlatform for Spread {
    forward! { self => self.platform;
        submit, collect, release, activation_log, find_submitted, recent_logs
    }
}
