//! Spelling: `typos`, from PyPI, in a folder of its own under `target`.

use std::process::Command;

use anyhow::Context;

use crate::shell::{root, step};

const VERSION: &str = "1.52.0";

/// Checks the spelling of everything that git tracks.
pub(crate) fn check() -> anyhow::Result<()> {
    let home = root().join("target/tools").join(format!("typos-{VERSION}"));
    let program = home.join("bin/typos");
    if !program.is_file() {
        let package = format!("typos=={VERSION}");
        let mut install = Command::new("python3");
        install.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--root-user-action=ignore",
        ]);
        install.arg("--target").arg(&home).arg(package);
        step("install typos", &mut install).context(
            "the spelling check needs python3 with pip, and the package typos from PyPI",
        )?;
    }
    step("spelling", Command::new(program).current_dir(root()))
}
