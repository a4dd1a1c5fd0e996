//! The third-party packages of functions.

use std::path::PathBuf;

use clap::Args;
use falco_core::{Capabilities, Deployable, ExecutionPlan, RuntimeName, Stage};
use falco_package::{Machine, PackageTarget, WithPackages};

use super::PlatformName;

/// The packages that travel with functions.
#[derive(Clone, Debug, Default, Args)]
pub struct PackageFlags {
    /// Install what FILE names by pip, for the platform's version of Python, and send it with the functions in Python.
    #[arg(long, value_name = "FILE", help_heading = "Function")]
    pub requirements: Option<PathBuf>,

    /// Send the files of DIR with the functions, and what its requirements.txt or package.json names, installed by pip or
    /// npm.
    #[arg(long, value_name = "DIR", help_heading = "Function")]
    pub package: Option<PathBuf>,
}

impl PackageFlags {
    /// Whether there is nothing to add.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_none() && self.package.is_none()
    }

    /// Adds the packages to a function. It starts pip or npm, in a thread that may block.
    ///
    /// # Errors
    ///
    /// When they cannot be installed, or are over the platform's limit.
    pub async fn add_to(
        &self,
        function: Deployable,
        platform: PlatformName,
        capabilities: &Capabilities,
    ) -> anyhow::Result<Deployable> {
        if self.is_empty() {
            return Ok(function);
        }
        let target = target(&function.runtime, platform, capabilities);
        let flags = self.clone();
        let added = tokio::task::spawn_blocking(move || {
            let function = match &flags.requirements {
                Some(file) => function.with_requirements(file, &target)?,
                None => function,
            };
            match &flags.package {
                Some(folder) => function.with_package(folder, &target),
                None => Ok(function),
            }
        });
        Ok(added.await??)
    }

    /// Adds the packages to those functions of a plan that are in a language which they can be for: `--requirements` to those
    /// in Python, `--package` to those in Python and Node.js.
    ///
    /// # Errors
    ///
    /// As [`add_to`](Self::add_to), and when they fit no function of the plan.
    pub(crate) async fn add_to_plan(
        &self,
        plan: ExecutionPlan,
        platform: PlatformName,
        capabilities: &Capabilities,
    ) -> anyhow::Result<ExecutionPlan> {
        if self.is_empty() {
            return Ok(plan);
        }
        let mut stages: Vec<Stage> = plan.stages().to_vec();
        let none_fits = !stages.iter().any(|stage| self.fits(&stage.function.runtime));
        for stage in &mut stages {
            // Where none fits, the first one's error says why.
            if none_fits || self.fits(&stage.function.runtime) {
                let function = stage.function.clone();
                stage.function = self.add_to(function, platform, capabilities).await?;
            }
        }
        Ok(ExecutionPlan::new(stages)?)
    }

    /// Whether they can be for functions of this runtime.
    pub fn fits(&self, runtime: &RuntimeName) -> bool {
        matches!((&self.requirements, runtime.family()), (_, "python") | (None, "nodejs"))
    }
}

/// The system that packages are installed for. A runtime that names no version becomes the newest one of the platform,
/// so that the packages fit what they run on.
fn target(
    runtime: &RuntimeName,
    platform: PlatformName,
    capabilities: &Capabilities,
) -> PackageTarget {
    let max_code = capabilities.for_runtime(runtime).max_code;
    if platform == PlatformName::Local {
        return PackageTarget::this_machine(runtime.clone()).with_max_code(max_code);
    }
    let names_one = runtime.version().is_some_and(|version| version.contains('.'));
    let newest = || {
        let known =
            capabilities.runtimes.iter().filter_map(|name| name.parse::<RuntimeName>().ok());
        known.filter(|it| it.family() == runtime.family()).max_by_key(version_of)
    };
    let runtime = match names_one {
        true => runtime.clone(),
        false => newest().unwrap_or_else(|| runtime.clone()),
    };
    let machine = capabilities.architecture.as_deref().and_then(Machine::named);
    PackageTarget::new(runtime, machine.unwrap_or(Machine::X86_64)).with_max_code(max_code)
}

/// The parts of a version, to be compared as numbers.
fn version_of(runtime: &RuntimeName) -> Vec<u32> {
    let parts = runtime.version().unwrap_or_default().split('.');
    parts.map(|part| part.parse().unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_without_a_version_is_the_newest_of_the_platform() {
        let capabilities =
            Capabilities::default().with_runtimes(["python:3.9", "python:3.14", "nodejs:22"]);
        for (asked, found) in [("python:3", "python:3.14"), ("python:3.9", "python:3.9")] {
            let asked = asked.parse().unwrap();
            let target = target(&asked, PlatformName::Aws, &capabilities);
            assert_eq!(target.runtime.to_string(), found);
            let here = super::target(&asked, PlatformName::Local, &capabilities);
            assert_eq!((here.runtime, here.machine), (asked, None));
        }
    }

    #[test]
    fn packages_are_for_the_processor_of_the_platform() {
        let python = "python:3.13".parse().unwrap();
        for (architecture, machine) in [
            (None, Machine::X86_64),
            (Some("x86_64"), Machine::X86_64),
            (Some("aarch64"), Machine::Aarch64),
        ] {
            let capabilities =
                Capabilities::default().with_architecture(architecture.map(str::to_owned));
            let target = target(&python, PlatformName::Docker, &capabilities);
            assert_eq!(target.machine, Some(machine));
        }
    }

    #[test]
    fn packages_go_to_the_functions_in_their_language() {
        let flags = |requirements: bool| PackageFlags {
            requirements: requirements.then(|| "r.txt".into()),
            package: (!requirements).then(|| "lib".into()),
        };
        for (runtime, for_requirements, for_package) in
            [("python:3", true, true), ("nodejs", false, true), ("native", false, false)]
        {
            let runtime = runtime.parse().unwrap();
            assert_eq!(flags(true).fits(&runtime), for_requirements, "{runtime}");
            assert_eq!(flags(false).fits(&runtime), for_package, "{runtime}");
        }
    }
}
