//! The third-party packages of a function.

use std::path::PathBuf;

use clap::Args;
use falco_cli::Launch;
use falco_cli::flags::PlatformName;
use falco_core::{Capabilities, Deployable, RuntimeName};
use falco_package::{Machine, PackageTarget, WithPackages};

/// The packages that travel with a function.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct PackageFlags {
    /// Install what FILE names by pip, for the platform's version of Python, and send it with the function.
    #[arg(long, value_name = "FILE", help_heading = "Function")]
    pub(crate) requirements: Option<PathBuf>,

    /// Send the files of DIR with the function, and what its requirements.txt or package.json names, installed by pip or
    /// npm.
    #[arg(long, value_name = "DIR", help_heading = "Function")]
    pub(crate) package: Option<PathBuf>,
}

impl PackageFlags {
    /// Adds the packages to a function.
    ///
    /// # Errors
    ///
    /// When they cannot be installed, or are over the platform's limit.
    pub(crate) async fn add_to(
        &self,
        function: Deployable,
        launch: &Launch<'_>,
    ) -> anyhow::Result<Deployable> {
        if self.requirements.is_none() && self.package.is_none() {
            return Ok(function);
        }
        let target = target(&function.runtime, launch.platform_name(), &launch.capabilities());
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
}

/// The system that packages are installed for. A runtime that names no version becomes the newest one of the platform,
/// so that the packages fit what they run on.
fn target(
    runtime: &RuntimeName,
    platform: PlatformName,
    capabilities: &Capabilities,
) -> PackageTarget {
    if platform == PlatformName::Local {
        return PackageTarget::this_machine(runtime.clone()).with_max_code(capabilities.max_code);
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
    PackageTarget::new(runtime, Machine::X86_64).with_max_code(capabilities.max_code)
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
}
