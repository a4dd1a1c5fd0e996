//! A copy of the workspace, in which one crate has mutants.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::judge::Program;
use super::rewrite::{Mutant, rewrite};
use crate::shell::{cargo, root};

/// The code that asks at run time which mutant is chosen, and notes which mutants a test reaches.
const RUNTIME: &str = r#"
#[doc(hidden)]
#[allow(missing_docs, missing_debug_implementations, clippy::all)]
pub mod __mutants {
    use std::collections::HashSet;
    use std::io::Write;
    use std::sync::{Mutex, OnceLock};
    static CHOSEN: OnceLock<u32> = OnceLock::new();
    static REACHED: OnceLock<Option<Mutex<(HashSet<u32>, std::fs::File)>>> = OnceLock::new();
    pub fn on(id: u32) -> bool {
        let chosen = CHOSEN.get_or_init(|| {
            std::env::var("FALCO_MUTANT").ok().and_then(|id| id.parse().ok()).unwrap_or(0)
        });
        let reached = REACHED.get_or_init(|| {
            let path = std::env::var_os("FALCO_MUTANTS_REACHED")?;
            let file = std::fs::File::options().create(true).append(true).open(path).ok()?;
            Some(Mutex::new((HashSet::new(), file)))
        });
        if let Some(reached) = reached {
            if let Ok(mut reached) = reached.lock() {
                if reached.0.insert(id) {
                    let _ = reached.1.write_all(format!("{id}\n").as_bytes());
                }
            }
        }
        *chosen == id
    }
}
"#;

/// The copy.
#[derive(Debug)]
pub(super) struct Tree {
    folder: PathBuf,
    name: String,
    /// The right sources of the crate, by their path from the workspace's root.
    sources: BTreeMap<String, String>,
}

impl Tree {
    /// Copies everything that git does not ignore into `folder`, to change the crate `name` there.
    pub(super) fn copy(folder: &Path, name: &str) -> anyhow::Result<Self> {
        let mut git = std::process::Command::new("git");
        let output = git
            .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
            .current_dir(root())
            .output()?;
        ensure!(output.status.success(), "git does not list the workspace's files");
        let listed = String::from_utf8(output.stdout)?;
        let mut sources = BTreeMap::new();
        for file in listed.split('\0').filter(|file| !file.is_empty()) {
            let (from, to) = (root().join(file), folder.join(file));
            // A file that is deleted and not yet committed is still listed.
            let Ok(content) = fs::read(&from) else { continue };
            fs::create_dir_all(to.parent().context("a file without folder")?)?;
            let is_source = file.starts_with(&format!("{name}/src/")) && file.ends_with(".rs");
            if is_source {
                sources.insert(file.to_owned(), String::from_utf8(content)?);
            } else {
                write_if_changed(&to, &content)?;
            }
        }
        ensure!(!sources.is_empty(), "{name} has no sources");
        Ok(Self { folder: folder.to_owned(), name: name.to_owned(), sources })
    }

    /// Writes the crate with all mutants but those that are left out.
    pub(super) fn rewrite(
        &self,
        parts: &[String],
        left_out: &BTreeSet<(String, usize, String)>,
    ) -> anyhow::Result<Vec<Mutant>> {
        let mut mutants = Vec::new();
        for (file, source) in &self.sources {
            let mut text = source.clone();
            let is_asked = parts.is_empty() || parts.iter().any(|part| file.contains(part));
            if is_asked && !is_of_tests(file) {
                let first_id = u32::try_from(mutants.len())? + 1;
                let (changed, found) = rewrite(file, source, first_id, left_out)?;
                text = changed;
                mutants.extend(found);
            }
            if file == &format!("{}/src/lib.rs", self.name) {
                text += RUNTIME;
            }
            write_if_changed(&self.folder.join(file), text.as_bytes())?;
        }
        Ok(mutants)
    }

    /// Builds the crate's tests into `target`.
    pub(super) fn build(&self, target: &Path) -> anyhow::Result<Built> {
        let mut build = cargo(&["test", "--no-run", "--message-format=json", "--package"]);
        build.arg(&self.name).current_dir(&self.folder).env("CARGO_TARGET_DIR", target);
        build.stderr(Stdio::inherit());
        let output = build.output().context("cargo does not start")?;
        let mut built = Built { is_whole: output.status.success(), ..Built::default() };
        let messages = String::from_utf8(output.stdout)?;
        messages.lines().filter_map(|line| serde_json::from_str(line).ok()).for_each(
            |message: Value| {
                built.read(&message);
            },
        );
        Ok(built)
    }
}

/// Whether a file holds tests: `tests.rs`, or a file in a folder `tests`. `#[cfg(test)]` is where the module is declared, so the
/// file itself does not show it.
fn is_of_tests(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.contains("/tests/")
}

/// Leaves a file that is right already as old as it is, so that cargo does not build it again.
fn write_if_changed(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    if fs::read(path).is_ok_and(|known| known == content) {
        return Ok(());
    }
    Ok(fs::write(path, content)?)
}

/// The test programs that a build has made, or why it failed.
#[derive(Debug, Default)]
pub(super) struct Built {
    pub(super) is_whole: bool,
    pub(super) programs: Vec<Program>,
    /// The compiler's errors.
    pub(super) words: String,
    /// Where the errors are: file and lines.
    errors: Vec<(String, usize, usize)>,
}

impl Built {
    fn read(&mut self, message: &Value) -> Option<()> {
        let kind = message["reason"].as_str()?;
        if kind == "compiler-artifact" && message["profile"]["test"] == true {
            let executable = PathBuf::from(message["executable"].as_str()?);
            let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
            self.programs.push(Program { executable, folder });
        }
        if message["message"]["level"] == "error" {
            self.words += message["message"]["rendered"].as_str()?;
            for span in message["message"]["spans"].as_array()? {
                let number = |key: &str| span[key].as_u64().and_then(|at| usize::try_from(at).ok());
                let file = span["file_name"].as_str()?.to_owned();
                self.errors.push((file, number("line_start")?, number("line_end")?));
            }
        }
        Some(())
    }

    /// Whether an error stands where this mutant does.
    pub(super) fn is_at_fault(&self, mutant: &Mutant) -> bool {
        self.errors.iter().any(|(file, first, last)| {
            file == &mutant.file && mutant.lines.start <= *last && *first < mutant.lines.end
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_tests_get_no_mutants() {
        for of_tests in ["falco-a/src/gate/tests.rs", "falco-a/src/gate/tests/laws.rs"] {
            assert!(is_of_tests(of_tests), "{of_tests}");
        }
        for other in
            ["falco-a/src/gate/mod.rs", "falco-a/src/latests.rs", "falco-a/src/tests_of.rs"]
        {
            assert!(!is_of_tests(other), "{other}");
        }
    }
}
