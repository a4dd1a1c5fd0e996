//! Stages that run on what another process has deployed.

use std::collections::BTreeMap;
use std::sync::Arc;

use falco_core::{Deployment, Error, ExecutionPlan, Result, RuntimeName, Stage, StageName};

/// The deployments that a user has given for stages.
#[derive(Debug, Default)]
pub(super) struct Given(BTreeMap<StageName, Arc<Deployment>>);

impl Given {
    pub(super) fn insert(&mut self, stage: StageName, deployment: Deployment) {
        self.0.insert(stage, Arc::new(deployment));
    }

    pub(super) fn get(&self, stage: &StageName) -> Option<&Arc<Deployment>> {
        self.0.get(stage)
    }

    /// Checks that each deployment can run its stage.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a stage that is not in the plan, and for a deployment on another platform, of another runtime, or for
    /// a stage with arguments, which are stored when a function is deployed.
    pub(super) fn check(&self, plan: &ExecutionPlan, platform: &str) -> Result<()> {
        for (name, deployment) in &self.0 {
            let Some(stage) = plan.stage(name.as_str()) else {
                let stages: Vec<_> =
                    plan.stages().iter().map(|stage| stage.name.as_str()).collect();
                return Err(Error::invalid_input(format!(
                    "a deployment is given for stage {name:?}, which is not in the plan"
                ))
                .with_hint(format!("the stages are {}", stages.join(", "))));
            };
            fits(stage, deployment, platform)
                .map_err(|error| error.with_function(&deployment.name))?;
        }
        Ok(())
    }
}

fn fits(stage: &Stage, deployment: &Deployment, platform: &str) -> Result<()> {
    let (name, needed) = (&stage.name, &stage.function.runtime);
    if deployment.platform != platform {
        let its = &deployment.platform;
        return Err(Error::invalid_input(format!(
            "stage {name:?} is given a deployment on platform {its:?}, and runs on {platform:?}"
        ))
        .with_hint("fetch the deployment from the platform that runs the plan"));
    }
    if !serves(&deployment.runtime, needed) {
        let its = &deployment.runtime;
        return Err(Error::invalid_input(format!(
            "stage {name:?} needs runtime {needed}, and the deployment that it is given has {its}"
        ))
        .with_hint("give it a deployment of its own function"));
    }
    if stage.function.arguments.is_some() {
        return Err(Error::invalid_input(format!(
            "stage {name:?} has arguments to be stored with its function, and is given a deployment"
        ))
        .with_hint(
            "leave out one of both: a deployment has the arguments that it was deployed with",
        ));
    }
    Ok(())
}

/// Whether a deployment's runtime is the one that is needed: the same family, and a version that the needed one begins or is
/// begun by, such as `python:3` and `python:3.12`.
fn serves(there: &RuntimeName, needed: &RuntimeName) -> bool {
    let covers = |short: &str, long: &str| {
        long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    there.family() == needed.family()
        && match (there.version(), needed.version()) {
            (Some(there), Some(needed)) => covers(there, needed) || covers(needed, there),
            _ => true,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_serves_the_same_family_and_version() {
        let serves =
            |there: &str, needed: &str| serves(&there.parse().unwrap(), &needed.parse().unwrap());
        assert!(serves("python:3", "python:3.12") && serves("python:3.12", "python:3"));
        assert!(serves("nodejs:22", "nodejs") && serves("native", "native"));
        assert!(!serves("python:3.1", "python:3.12") && !serves("python:2", "python:3"));
        assert!(!serves("nodejs", "python:3"));
    }
}
