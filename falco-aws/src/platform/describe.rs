//! A function of Lambda's as a deployment.

use std::time::Duration;

use falco_core::{Deployment, RuntimeName, Scaling};

use super::AwsLambda;
use super::names;
use crate::architecture::Architecture;
use crate::client::{Function, Reserved};

/// The name of a deployment's attribute with the digest of its code.
const CODE_SHA256: &str = "code_sha256";
const ARCHITECTURE: &str = "architecture";
const STORAGE_MIB: &str = "storage_mib";

impl Function {
    pub(super) fn reserved(&self) -> Option<u32> {
        self.concurrency.and_then(|reserved| reserved.reserved_concurrent_executions)
    }

    pub(super) fn set_reserved(&mut self, reserved: u32) {
        self.concurrency = Some(Reserved { reserved_concurrent_executions: Some(reserved) });
    }
}

impl AwsLambda {
    pub(super) fn describe(&self, function: &Function) -> Deployment {
        let there = &function.configuration;
        let tags = function.tags.clone().unwrap_or_default();
        let runtime = names::runtime(&tags).unwrap_or_else(|| named(there.runtime.as_deref()));
        let scaling = Scaling::default()
            .with_memory_mib(there.memory_size)
            .with_timeout(there.timeout.map(Duration::from_secs))
            .with_max_instances(function.reserved());
        let architecture = there.architectures.first().cloned();
        let mut deployment = Deployment::new(&there.function_name, runtime)
            .with_platform(crate::NAME)
            .with_id(&there.function_arn)
            .with_scaling(scaling)
            .with_ownership(names::ownership(&tags))
            .with_attribute(CODE_SHA256, &there.code_sha256)
            .with_attribute(
                ARCHITECTURE,
                architecture.unwrap_or_else(|| Architecture::default().as_str().into()),
            );
        if let Some(storage) = there.ephemeral_storage {
            deployment = deployment.with_attribute(STORAGE_MIB, storage.size.to_string());
        }
        deployment
    }
}

/// The architecture that a deployment runs on.
pub(super) fn architecture(deployment: &Deployment) -> Architecture {
    let name = deployment.attribute(ARCHITECTURE);
    name.and_then(|name| name.parse().ok()).unwrap_or_default()
}

/// The temporary storage of a deployment, in MiB; none when it is what every function has.
pub(super) fn storage_mib(deployment: &Deployment) -> u32 {
    deployment.attribute(STORAGE_MIB).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Falco's name of a runtime of Lambda, for a function that Falco did not make.
fn named(runtime: Option<&str>) -> RuntimeName {
    let runtime = runtime.unwrap_or("image");
    let split = runtime.find(|c: char| c.is_ascii_digit()).unwrap_or(runtime.len());
    let (family, version) = runtime.split_at(split);
    let name = match family {
        "provided.al" | "provided" => "native".to_owned(),
        _ if version.is_empty() => family.to_owned(),
        _ => format!("{family}:{}", version.trim_end_matches(".x")),
    };
    name.parse().unwrap_or_else(|_| unknown_runtime())
}

#[expect(clippy::expect_used, reason = "a constant that parses")]
pub(super) fn unknown_runtime() -> RuntimeName {
    "unknown".parse().expect("a plain word is a runtime's name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_others_have_a_runtime_too() {
        for (lambda, falco) in [
            ("python3.12", "python:3.12"),
            ("nodejs22.x", "nodejs:22"),
            ("provided.al2023", "native"),
            ("java21", "java:21"),
            ("", "unknown"),
        ] {
            assert_eq!(named(Some(lambda)).to_string(), falco);
        }
    }
}
