//! The sizes of a function.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::setters;

/// How large a function is and how many of it there may be. `None` leaves the platform's default, or, in
/// [`Platform::scale`](crate::Platform::scale), what is in force.
///
/// # Examples
///
/// ```
/// use falco_core::Scaling;
///
/// let large = Scaling::default().with_memory_mib(1024);
/// let many = Scaling::default().with_max_instances(50);
/// assert_eq!(large.overridden_by(&many), large.with_max_instances(50));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Scaling {
    /// Memory of one instance, in MiB.
    pub memory_mib: Option<u32>,
    /// Processors of one instance; most platforms derive it from the memory.
    pub cpus: Option<f32>,
    /// How long one activation may run.
    pub timeout: Option<Duration>,
    /// Instances kept warm.
    pub min_instances: Option<u32>,
    /// Instances at most: workers here, reserved concurrency on Lambda, maximum instances on Google.
    pub max_instances: Option<u32>,
    /// Activations that one instance runs at the same time.
    pub concurrency: Option<u32>,
}

impl Scaling {
    setters! {
        /// Sets the memory of one instance, in MiB.
        with_memory_mib(memory_mib: Option<u32>);
        /// Sets the processors of one instance.
        with_cpus(cpus: Option<f32>);
        /// Sets how long one activation may run.
        with_timeout(timeout: Option<Duration>);
        /// Sets how many instances are kept warm.
        with_min_instances(min_instances: Option<u32>);
        /// Sets how many instances there are at most.
        with_max_instances(max_instances: Option<u32>);
        /// Sets how many activations one instance runs at the same time.
        with_concurrency(concurrency: Option<u32>);
    }

    /// Merges two scalings; fields that are set in `other` win.
    #[must_use]
    pub fn overridden_by(&self, other: &Self) -> Self {
        Self {
            memory_mib: other.memory_mib.or(self.memory_mib),
            cpus: other.cpus.or(self.cpus),
            timeout: other.timeout.or(self.timeout),
            min_instances: other.min_instances.or(self.min_instances),
            max_instances: other.max_instances.or(self.max_instances),
            concurrency: other.concurrency.or(self.concurrency),
        }
    }

    /// Checks what no platform can grant.
    ///
    /// # Errors
    ///
    /// `InvalidInput` that names the value: a zero, or a minimum above the maximum.
    pub fn validate(&self) -> Result<()> {
        let zero = [
            ("memory", self.memory_mib == Some(0)),
            ("timeout", self.timeout == Some(Duration::ZERO)),
            ("max_instances", self.max_instances == Some(0)),
            ("concurrency", self.concurrency == Some(0)),
        ];
        if let Some((name, _)) = zero.iter().find(|(_, is_zero)| *is_zero) {
            return Err(Error::invalid_input(format!("{name} must not be zero")));
        }
        if self.cpus.is_some_and(|cpus| !(cpus > 0.0 && cpus.is_finite())) {
            return Err(Error::invalid_input("cpus has to be a positive number"));
        }
        match (self.min_instances, self.max_instances) {
            (Some(min), Some(max)) if min > max => Err(Error::invalid_input(format!(
                "min_instances ({min}) is above max_instances ({max})"
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_sizes_are_named() {
        for (scaling, name) in [
            (Scaling { memory_mib: Some(0), ..Scaling::default() }, "memory"),
            (Scaling { timeout: Some(Duration::ZERO), ..Scaling::default() }, "timeout"),
            (Scaling { max_instances: Some(0), ..Scaling::default() }, "max_instances"),
            (Scaling { concurrency: Some(0), ..Scaling::default() }, "concurrency"),
            (Scaling { cpus: Some(f32::NAN), ..Scaling::default() }, "cpus"),
            (Scaling { cpus: Some(f32::INFINITY), ..Scaling::default() }, "cpus"),
            (Scaling { cpus: Some(0.0), ..Scaling::default() }, "cpus"),
            (
                Scaling { min_instances: Some(3), max_instances: Some(2), ..Scaling::default() },
                "min_instances",
            ),
        ] {
            let error = scaling.validate().unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn fields_that_are_set_override_and_others_do_not() {
        let scaling = |number: u32| Scaling {
            memory_mib: Some(number),
            cpus: Some(2.0 * number as f32),
            timeout: Some(Duration::from_secs(number.into())),
            min_instances: Some(number + 1),
            max_instances: Some(number + 2),
            concurrency: Some(number + 3),
        };
        assert_eq!(scaling(1).overridden_by(&scaling(9)), scaling(9));
        assert_eq!(scaling(1).overridden_by(&Scaling::default()), scaling(1));
    }
}
