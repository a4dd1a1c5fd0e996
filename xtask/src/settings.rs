//! The page of settings: it names every setter that users have, and none that is gone. And no document names a variable
//! of the environment that nobody reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};

use crate::circles::code;
use crate::metadata::Metadata;

const PAGE: &str = "docs/settings.md";

/// How the names of Falco's own variables begin.
const OWN: &str = "FALCO_";

/// How names begin that a provider's own tools read.
const OTHERS: [&str; 1] = ["WHISK_"];

/// Amazon's variables are in Amazon's documentation, and the page of settings names the important ones.
const DOCUMENTED_ELSEWHERE: &str = "aws";

/// Types whose setters are settings, besides every builder of a platform's configuration and its waits.
const TYPES: &[&str] = &[
    "ClientConfig",
    "DataPolicy",
    "ExecutionOptions",
    "Isolation",
    "JournalConfig",
    "MeterSettings",
    "ResumeOptions",
    "RunOptions",
    "Stack",
    "TraceFile",
    "WorkerLimits",
];

/// Crates whose configurations a run does not have.
const LEFT_OUT: &[&str] = &["falco-bench", "falco-examples", "falco-fakes", "falco-testkit"];

/// Checks the page against the sources of all crates.
pub(crate) fn check(metadata: &Metadata, root: &Path) -> anyhow::Result<()> {
    let page = fs::read_to_string(root.join(PAGE)).context(PAGE)?;
    let mut sources = Sources::default();
    let names = metadata.platforms().map(|platform| platform.name.trim_start_matches("falco-"));
    let names = names.filter(|name| *name != DOCUMENTED_ELSEWHERE);
    sources.read_by_config = names.map(|name| name.to_ascii_uppercase() + "_").collect();
    for package in metadata.members().filter(|one| !LEFT_OUT.contains(&one.name.as_str())) {
        sources.read(&package.folder.join("src"))?;
    }
    let wrong = sources.compare(&page);
    ensure!(wrong.is_empty(), "{PAGE}:\n  {}", wrong.join("\n  "));
    for package in metadata.members().filter(|one| LEFT_OUT.contains(&one.name.as_str())) {
        sources.read(&package.folder.join("src"))?;
    }
    let mut unread = Vec::new();
    let folders = metadata.members().map(|package| package.folder.clone());
    for folder in folders.chain([root.to_owned(), root.join("docs")]) {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let text = fs::read_to_string(&path)?;
                let unknown = sources.unread(&text);
                if !unknown.is_empty() {
                    unread.push(format!("{}: {}", path.display(), unknown.join(", ")));
                }
            }
        }
    }
    ensure!(
        unread.is_empty(),
        "nothing reads these variables: correct their names or remove them\n  {}",
        unread.join("\n  ")
    );
    Ok(())
}

/// Setters, functions and variables in the sources of the crates.
#[derive(Debug, Default)]
struct Sources {
    /// The setters of each type.
    setters: BTreeMap<String, BTreeSet<String>>,
    /// The names of all public functions.
    functions: BTreeSet<String>,
    /// Variables of the environment that configurations read.
    variables: BTreeSet<String>,
    /// All variables of Falco's own, and beginnings of their names.
    own: BTreeSet<String>,
    /// How the names of variables begin that configurations read, besides [`OWN`] and [`OTHERS`]: as their platforms.
    read_by_config: Vec<String>,
}

impl Sources {
    fn read(&mut self, folder: &Path) -> anyhow::Result<()> {
        let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                self.read(&path)?;
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                let is_config = path
                    .components()
                    .any(|part| part.as_os_str() == "config" || part.as_os_str() == "config.rs");
                self.add(&text, is_config);
            }
        }
        Ok(())
    }

    fn add(&mut self, text: &str, is_config: bool) {
        let text = code(text);
        self.own.extend(own_variables(&text).map(str::to_owned));
        let mut of = None;
        let mut is_hidden = false;
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            if let Some(name) = line.strip_prefix("impl") {
                of = (!name.contains(" for ")).then(|| type_of(name)).flatten();
            }
            is_hidden |= line.contains("#[doc(hidden)]");
            // What the macro `setters!` makes.
            let made = line.trim_start().strip_suffix(");").and_then(|line| line.split_once('('));
            if let Some((name, _)) = made.filter(|(name, _)| name.starts_with("with_"))
                && name.chars().all(is_word)
            {
                if let Some(of) = of.filter(|of| is_of_settings(of)) {
                    self.setters.entry(of.to_owned()).or_default().insert(name.to_owned());
                }
                self.functions.insert(name.to_owned());
            }
            if let Some(name) = line.strip_prefix("    pub fn ") {
                let name: String = name.chars().take_while(|&c| is_word(c)).collect();
                let arguments = [line, lines.get(at + 1).copied().unwrap_or_default()].concat();
                let sets = arguments.contains("mut self") && !arguments.contains("&mut self");
                if let Some(of) = of.filter(|of| sets && !is_hidden && is_of_settings(of)) {
                    self.setters.entry(of.to_owned()).or_default().insert(name.clone());
                }
                self.functions.insert(name);
                is_hidden = false;
            }
        }
        if is_config {
            let quoted = text.split('"').skip(1).step_by(2);
            let own = self.read_by_config.iter().map(String::as_str).chain([OWN]).chain(OTHERS);
            let own: Vec<&str> = own.collect();
            let variables = quoted.filter(|text| {
                own.iter().any(|own| text.starts_with(own) && text.len() > own.len())
                    && text.chars().all(|c| c.is_ascii_uppercase() || c == '_')
            });
            self.variables.extend(variables.map(str::to_owned));
        }
    }

    /// Variables that a document names and no source does.
    fn unread(&self, document: &str) -> Vec<String> {
        // `FALCO_DOCKER_IMAGE_` in a source stands in front of the name of a runtime.
        let begins = |name: &str| {
            let begins = |own: &String| own.ends_with('_') && name.starts_with(own.as_str());
            self.own.iter().any(begins)
        };
        let named = own_variables(document).filter(|name| !name.ends_with('_'));
        let unread = named.filter(|name| !self.own.contains(*name) && !begins(name));
        unread.map(str::to_owned).collect()
    }

    fn compare(&self, page: &str) -> Vec<String> {
        // What stands between back-quotes, word by word.
        let quoted: BTreeSet<&str> = page
            .split('`')
            .skip(1)
            .step_by(2)
            .flat_map(|span| span.split(|c| !is_word(c)))
            .collect();
        let mut wrong = Vec::new();
        for (of, setters) in &self.setters {
            // Building sets nothing.
            let missing = setters.iter().filter(|name| !name.starts_with("build"));
            let missing = missing.filter(|name| !quoted.contains(name.as_str()));
            wrong.extend(missing.map(|name| format!("{of}::{name} is missing")));
        }
        let is_named = |variable: &&String| {
            // `FALCO_DOCKER_IMAGE_PYTHON`, `_NODEJS` names two.
            let last = variable.rfind('_').map_or(variable.as_str(), |at| &variable[at..]);
            quoted.contains(variable.as_str()) || quoted.contains(last)
        };
        let missing = self.variables.iter().filter(|variable| !is_named(variable));
        wrong.extend(missing.map(|variable| format!("the variable {variable} is missing")));
        let gone = quoted.iter().filter(|word| word.starts_with("with_"));
        let gone = gone.filter(|word| !self.functions.contains(**word));
        wrong.extend(gone.map(|word| format!("no public function is called {word}")));
        wrong
    }
}

/// The variables of Falco's own that a text names, or the beginnings of their names.
fn own_variables(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c| !is_word(c));
    words.filter(|word| word.starts_with(OWN) && word.len() > OWN.len())
}

/// The type of ` Name<T> {`.
fn type_of(rest: &str) -> Option<&str> {
    let rest = rest.trim_start();
    // Behind parameters of the implementation itself.
    let rest = if rest.starts_with('<') { rest.split_once("> ")?.1 } else { rest };
    let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    Some(&rest[..end])
}

fn is_of_settings(name: &str) -> bool {
    TYPES.contains(&name) || name.ends_with("ConfigBuilder") || name.ends_with("Waits")
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"
impl MineConfigBuilder {
    /// Sets it.
    pub fn region(mut self, region: &str) -> Self {
        self.set("FALCO_MINE_REGION", format!("FALCO_MINE_IMAGE_{name}"))
    }
    pub fn build(mut self) -> Config {}
    #[doc(hidden)]
    pub fn secret_lever(mut self) -> Self {}
    pub fn with_long_arguments(
        mut self,
        one: One,
    ) -> Self {}
    pub fn change(&mut self) {}
}
impl MineWaits {
    setters! {
        /// Sets it.
        with_interval(interval: Duration);
    }
}
impl Other {
    pub fn with_other(mut self) -> Self {}
}
"#;

    fn compared(page: &str) -> Vec<String> {
        let mut sources = Sources::default();
        sources.add(SOURCE, true);
        sources.compare(page)
    }

    #[test]
    fn a_setter_and_a_variable_that_the_page_does_not_name_are_found() {
        let missing = compared("a region");
        assert_eq!(
            missing,
            [
                "MineConfigBuilder::region is missing",
                "MineConfigBuilder::with_long_arguments is missing",
                "MineWaits::with_interval is missing",
                "the variable FALCO_MINE_REGION is missing",
            ]
        );
        let page = "`MineConfig::builder().region(..)`, `with_long_arguments`, `with_interval`, `FALCO_MINE_REGION`";
        assert!(compared(page).is_empty());
    }

    #[test]
    fn a_setter_that_is_gone_is_found() {
        let page = "`region`, `with_long_arguments`, `with_interval`, `FALCO_MINE_REGION`, `with_region`, `with_other`";
        assert_eq!(compared(page), ["no public function is called with_region"]);
    }

    #[test]
    fn a_variable_that_nothing_reads_is_found() {
        let mut sources = Sources::default();
        sources.add(SOURCE, true);
        let document = "Set FALCO_MINE_REGION, `FALCO_MINE_IMAGE_PYTHON`, `FALCO_MINE_..` or `FALCO_MINE_ZONE`.";
        assert_eq!(sources.unread(document), ["FALCO_MINE_ZONE"]);
    }

    #[test]
    fn the_page_of_this_workspace_is_whole() {
        check(&Metadata::read().unwrap(), &crate::shell::root()).unwrap();
    }
}
