//! The activations of a stage by the size of the deployment that ran them.

use std::fmt;
use std::time::Duration;

use falco_core::{Activation, FunctionErrorKind, UsDollars};
use serde::{Deserialize, Serialize};

use super::format::{duration, number};

/// How many sizes of a stage are distinguished.
const MOST: usize = 32;

/// The activations that ran on a deployment of one size.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SizeReport {
    /// Memory granted, in MiB, where the provider reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
    /// The timeout in seconds, where [escalation](falco_layers::Escalation) sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<f64>,
    /// How many activations there were.
    pub activations: u64,
    /// How many of them ran out of memory.
    pub out_of_memory: u64,
    /// How many of them ran out of time.
    pub timed_out: u64,
    /// The most memory that one of them used, in bytes, where the provider reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_used_bytes: Option<u64>,
    /// The time that is charged for all of them, where the provider reports it.
    #[serde(rename = "billed_ms", with = "super::millis", default)]
    pub billed: Duration,
    /// The longest that one of them ran.
    #[serde(rename = "longest_ms", with = "super::millis", default)]
    pub longest: Duration,
    /// The cost of all of them, where the provider reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<UsDollars>,
}

impl SizeReport {
    /// Adds an activation to those of its size.
    pub(super) fn note(sizes: &mut Vec<Self>, activation: &Activation) {
        let timeout_s = activation.attribute("timeout_s").and_then(|text| text.parse().ok());
        let size = (activation.memory_mib, timeout_s);
        let known = sizes.iter().position(|it| (it.memory_mib, it.timeout_s) == size);
        let at = match known {
            Some(at) => at,
            // A provider that grants something else each time must not fill the memory.
            None if sizes.len() == MOST => MOST - 1,
            None => {
                let at = sizes.partition_point(|it| (it.memory_mib, it.timeout_s) < size);
                let (memory_mib, timeout_s) = size;
                sizes.insert(at, Self { memory_mib, timeout_s, ..Self::default() });
                at
            }
        };
        sizes[at].add(activation);
    }

    fn add(&mut self, activation: &Activation) {
        let failure = activation.outcome.as_ref().err().map(|error| error.kind);
        self.activations += 1;
        self.out_of_memory += u64::from(failure == Some(FunctionErrorKind::OutOfMemory));
        self.timed_out += u64::from(failure == Some(FunctionErrorKind::Timeout));
        self.memory_used_bytes = self.memory_used_bytes.max(activation.memory_used_bytes);
        self.billed += activation.billed.unwrap_or_default();
        self.longest = self.longest.max(activation.execution.unwrap_or_default());
        if let Some(cost) = activation.cost {
            *self.cost.get_or_insert_default() += cost;
        }
    }
}

impl fmt::Display for SizeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.memory_mib {
            Some(mib) => write!(f, "{} MiB", number(mib.into()))?,
            None => f.write_str("memory unknown")?,
        }
        if let Some(seconds) = self.timeout_s {
            write!(
                f,
                " for {}",
                duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
            )?;
        }
        write!(f, ": {} activations", number(self.activations))?;
        for (count, what) in
            [(self.out_of_memory, "out of memory"), (self.timed_out, "out of time")]
        {
            if count > 0 {
                write!(f, ", {} {what}", number(count))?;
            }
        }
        if let Some(used) = self.memory_used_bytes {
            write!(f, ", {} MiB used at most", number(used.div_ceil(1 << 20)))?;
        }
        match self.cost {
            Some(cost) => write!(f, ", {cost}"),
            None => Ok(()),
        }
    }
}
