//! The programs of the system that tests need: a browser in which they look at pages, and a daemon in which they start containers.

use std::process::Command;

use anyhow::Context;

use crate::shell::{program_exists, step};

/// The programs, with the packages of Debian that bring them.
const PROGRAMS: [(&str, &str); 2] = [("chromium", "chromium"), ("dockerd", "docker.io")];

/// Installs what is missing, where apt can do it. Elsewhere the tests that need it are skipped by name, and with
/// `CI=true` they fail.
pub(crate) fn install() -> anyhow::Result<()> {
    let missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| !program_exists(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" and ");
    if !program_exists("apt-get") || !is_root()? {
        println!("{names} cannot be installed: that takes apt-get and root");
        return Ok(());
    }
    let installed = step("apt-get update", Command::new("apt-get").args(["update", "--quiet=2"]))
        .and_then(|()| {
            let mut install = Command::new("apt-get");
            install.args(["install", "--quiet=2", "--yes", "--no-install-recommends"]);
            install.args(&missing).env("DEBIAN_FRONTEND", "noninteractive");
            step(&format!("install {names}"), &mut install)
        });
    if let Err(error) = installed {
        println!("{names} cannot be installed: {error:#}");
    }
    Ok(())
}

fn is_root() -> anyhow::Result<bool> {
    let output = Command::new("id").arg("-u").output().context("`id` does not start")?;
    Ok(output.stdout.trim_ascii() == b"0")
}
