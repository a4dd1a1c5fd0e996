//! From OpenWhisk's actions to Falco's deployments.

use std::time::Duration;

use falco_core::{Deployment, Error, Result, RuntimeName, Scaling};

use crate::NAME;
use crate::call::Call;
use crate::limits::Limits;
use crate::name::QualifiedName;
use crate::wire::{Action, ActionLimits, Marks, PutLimits, annotation};

/// The annotation by which Falco knows its own actions.
pub(crate) const MARKS: &str = "falco";

/// The deployment that an action on `host` is. Without Falco's marks the runtime is the kind.
pub(crate) fn deployment(call: &Call<'_>, action: &Action<'_>, host: &str) -> Result<Deployment> {
    let marks: Option<Marks> = annotation(&action.annotations, MARKS);
    let kind: Option<String> = annotation(&action.annotations, "exec");
    let runtime = match &marks {
        Some(marks) => marks.runtime.clone(),
        None => kind.as_deref().unwrap_or("unknown").parse().map_err(|e| call.apply(e))?,
    };
    let (namespace, package) = match action.namespace.split_once('/') {
        Some((namespace, package)) => (namespace, Some(package)),
        None => (&*action.namespace, None),
    };
    let name = QualifiedName {
        namespace: Some(namespace.to_owned()),
        package: package.map(str::to_owned),
        name: action.name.clone().into_owned(),
    };
    let mut deployment = named(&name, runtime)
        .with_scaling(scaling(&action.limits))
        // OpenWhisk has no regions: traces distinguish installations by their host, as FACT does.
        .with_attribute("region", host)
        .with_ownership(marks.and_then(|marks| marks.ownership));
    if let Some(kind) = kind {
        deployment = deployment.with_attribute("kind", kind);
    }
    if let Some(version) = &action.version {
        deployment = deployment.with_attribute("version", &**version);
    }
    Ok(deployment)
}

/// A deployment of which only the name is known.
pub(crate) fn named(name: &QualifiedName, runtime: RuntimeName) -> Deployment {
    Deployment::new(name.filter(), runtime).with_platform(NAME).with_id(name.to_string())
}

/// Where a deployment is.
pub(crate) fn location(call: &Call<'_>, deployment: &Deployment) -> Result<QualifiedName> {
    if deployment.platform != NAME {
        let error =
            Error::invalid_input(format!("this is a deployment on {}", deployment.platform));
        return Err(call.apply(error));
    }
    deployment.id.parse().map_err(|e| call.apply(e))
}

fn scaling(limits: &ActionLimits) -> Scaling {
    Scaling::default()
        .with_memory_mib(limits.memory_mib)
        .with_timeout(limits.timeout_ms.map(Duration::from_millis))
        .with_concurrency(limits.concurrency)
        .with_max_instances(limits.instances)
}

/// The limits of an action for what was asked, checked against those of the namespace.
///
/// # Errors
///
/// `InvalidInput` for a size out of bounds, `Unsupported` for one that OpenWhisk does not have.
pub(crate) fn action_limits(asked: &Scaling, allowed: &Limits) -> Result<PutLimits> {
    asked.validate()?;
    if asked.cpus.is_some() {
        return Err(Error::unsupported("OpenWhisk derives processors from memory")
            .with_hint("set the memory instead of cpus"));
    }
    if asked.min_instances.is_some() {
        return Err(Error::unsupported("OpenWhisk keeps no instances warm on request")
            .with_hint("leave min_instances unset"));
    }
    if let (Some(asked), Some(bounds)) = (asked.memory_mib, allowed.memory_mib())
        && !bounds.contains(asked)
    {
        return Err(Error::invalid_input(format!(
            "memory: {asked} MiB, and the namespace allows {} to {} MiB",
            bounds.min, bounds.max
        )));
    }
    if let (Some(asked), Some(bounds)) = (asked.timeout, allowed.timeout())
        && !bounds.contains(asked)
    {
        return Err(Error::invalid_input(format!(
            "timeout: {asked:?}, and the namespace allows {:?} to {:?}",
            bounds.min, bounds.max
        )));
    }
    if let (Some(asked), Some(max)) = (asked.concurrency, allowed.max_action_concurrency)
        && asked > max
    {
        return Err(Error::invalid_input(format!(
            "concurrency: {asked} activations in one container, and the namespace allows {max}"
        )));
    }
    Ok(PutLimits {
        timeout_ms: asked.timeout.map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX)),
        memory_mib: asked.memory_mib,
        logs_mib: None,
        concurrency: asked.concurrency,
        instances: asked.max_instances,
    })
}

#[cfg(test)]
mod tests {
    use falco_core::ErrorKind;

    use super::*;

    #[test]
    fn a_size_at_the_limit_of_the_namespace_is_taken_and_one_beyond_is_refused() {
        let allowed = r#"{"minActionMemory":128,"maxActionMemory":512,"minActionTimeout":100,
            "maxActionTimeout":60000,"maxActionConcurrency":4}"#;
        let allowed: Limits = serde_json::from_str(allowed).unwrap();
        let millis = Duration::from_millis;
        let none = Scaling::default();
        for (asked, is_taken) in [
            (none.clone().with_memory_mib(128), true),
            (none.clone().with_memory_mib(127), false),
            (none.clone().with_memory_mib(512), true),
            (none.clone().with_memory_mib(513), false),
            (none.clone().with_timeout(millis(100)), true),
            (none.clone().with_timeout(millis(99)), false),
            (none.clone().with_timeout(millis(60_000)), true),
            (none.clone().with_timeout(millis(60_001)), false),
            (none.clone().with_concurrency(4), true),
            (none.with_concurrency(5), false),
        ] {
            let refused = action_limits(&asked, &allowed).err().map(|error| error.kind());
            assert_eq!(refused, (!is_taken).then_some(ErrorKind::InvalidInput), "{asked:?}");
        }
    }
}
