//! The template in the gate: filled in, and compiled with what the build of the tests has made, which takes seconds.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};

use super::{fill_in, lines_of};
use crate::program::Program;
use crate::shell::{cargo, root};
use crate::units::Sibling;

/// The platform that is made.
const NAME: &str = "fission";
/// Crates that may have the dependencies of the template.
const MODELS: [&str; 4] = ["falco-openfaas", "falco-gcp", "falco-openwhisk", "falco-aws"];

/// Makes a platform, fills its holes in and compiles it by `compiler`, clippy's driver, without a warning. Returns its tests.
///
/// # Errors
///
/// When the template has rotted: it does not format or compile, or has warnings or too many lines.
pub(crate) fn build(compiler: &Path) -> anyhow::Result<Program> {
    let place = root().join("target/template/gate");
    // That of an earlier gate, if there is one.
    let _ = fs::remove_dir_all(&place);
    let folder = place.join(format!("falco-{NAME}"));
    make(&folder)?;
    let name = format!("falco-{NAME}");
    let sibling = Sibling { name: &name, model: model()?, folder: &folder, output: &place };
    for source in ["src/lib.rs", "tests/it/main.rs"] {
        succeeds(&mut sibling.compile(compiler, source)?).with_context(|| {
            format!("the filled-in template: {source} (its text is in xtask/template)")
        })?;
    }
    Program::of(&format!("xtask/template {NAME}"), place.join("it"), &folder)
}

/// Makes a platform as `new-platform --path` does, and fills its holes in.
fn make(folder: &Path) -> anyhow::Result<()> {
    crate::new_platform::write(folder, NAME, true)?;
    fill_in(folder)?;
    succeeds(cargo(&["fmt"]).current_dir(folder))?;
    lines_of(folder).map(drop)
}

/// The first crate that has all dependencies of the template.
fn model() -> anyhow::Result<&'static str> {
    for model in MODELS {
        let manifest = fs::read_to_string(root().join(model).join("Cargo.toml"))?;
        let has = |name: &str| {
            let rest =
                |line: &str| line.strip_prefix(name).map(|rest| rest.starts_with([' ', '.']));
            manifest.lines().any(|line| rest(line) == Some(true))
        };
        if crate::new_platform::dependencies().all(has) {
            return Ok(model);
        }
    }
    bail!("no crate has the dependencies of the template: add one to the list in {}", file!())
}

fn succeeds(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?} does not start"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{:?} failed:\n{said}", command.get_program());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::MOST_LINES;
    use super::*;

    #[test]
    fn a_whole_platform_is_as_short_as_the_documents_say() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("falco-fission");
        make(&folder).unwrap();
        let lines = lines_of(&folder).unwrap();
        assert!(lines < MOST_LINES, "{lines} lines");
        for document in ["docs/add-a-platform.md", "CHANGELOG.md"] {
            let text = fs::read_to_string(root().join(document)).unwrap();
            let promise = format!("fewer than {MOST_LINES} lines");
            assert_eq!(text.matches(&promise).count(), 1, "{document}: {promise}");
        }
    }

    #[test]
    fn a_platform_has_the_dependencies_of_the_template() {
        assert!(MODELS.contains(&model().unwrap()));
        assert!(crate::new_platform::dependencies().count() > 5);
    }
}
