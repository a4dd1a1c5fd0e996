//! The places in which a platform of the workspace is entered: `new-platform` writes them, and the lint names those that are
//! missing.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};

use crate::metadata::{Metadata, Package};

/// One place, in words with `{{name}}` for `fission`, `{{Name}}` for `Fission`, `{{NAME}}` for `FISSION`, `{{title}}` for the
/// platform's name in documents and `{{version}}` for the version of the workspace.
#[derive(Debug)]
struct Place {
    /// The file.
    file: &'static str,
    /// The text by which a platform is found there, in small or capital letters.
    mark: &'static str,
    /// The text to add.
    text: &'static str,
    /// Where it is added.
    at: At,
}

/// Where a text is added.
#[derive(Debug)]
enum At {
    /// Below the last line that another platform's mark stands in.
    Below,
    /// In front of this text, which the file holds once.
    Before(&'static str),
    /// Behind this text, which the file holds once.
    Behind(&'static str),
    /// In front of this text; a platform that is missing there is named by the compiler, and not by the lint.
    Compiled(&'static str),
    /// In a file of its own.
    Alone,
}

impl Place {
    fn is_linted(&self) -> bool {
        !matches!(self.at, At::Compiled(_))
    }
}

const fn below(file: &'static str, mark: &'static str, text: &'static str) -> Place {
    Place { file, mark, text, at: At::Below }
}

const fn before(
    file: &'static str,
    anchor: &'static str,
    mark: &'static str,
    text: &'static str,
) -> Place {
    Place { file, mark, text, at: At::Before(anchor) }
}

const fn behind(
    file: &'static str,
    anchor: &'static str,
    mark: &'static str,
    text: &'static str,
) -> Place {
    Place { file, mark, text, at: At::Behind(anchor) }
}

const FLAGS: &str = "falco-cli/src/flags/platform/mod.rs";
const OPTIONAL: &str = "falco-{{name}} = { workspace = true, optional = true }\n";

/// Every place, in the order in which a reader comes to them.
const PLACES: &[Place] = &[
    below("Cargo.toml", "\n    \"falco-{{name}}\",", "    \"falco-{{name}}\",\n"),
    below(
        "Cargo.toml",
        "\nfalco-{{name}} = {",
        "falco-{{name}} = { path = \"falco-{{name}}\", version = \"{{version}}\" }\n",
    ),
    below(
        "falco/Cargo.toml",
        "\n{{name}} = [\"dep:falco-{{name}}\"",
        "# {{title}}.\n{{name}} = [\"dep:falco-{{name}}\"]\n",
    ),
    below("falco/Cargo.toml", "\nfalco-{{name}} = { workspace = true", OPTIONAL),
    below(
        "falco/src/lib.rs",
        "pub use falco_{{name}} as {{name}};",
        "#[cfg(feature = \"{{name}}\")]\n#[doc(inline)]\npub use falco_{{name}} as {{name}};\n",
    ),
    below(
        "falco/src/prelude.rs",
        "pub use falco_{{name}}::{",
        "#[cfg(feature = \"{{name}}\")]\npub use falco_{{name}}::{{{Name}}, {{Name}}Config};\n",
    ),
    below("falco/README.md", "\n| `{{name}}`", "| `{{name}}` | {{title}} | `{{Name}}` |\n"),
    below(
        "falco-cli/Cargo.toml",
        "\n{{name}} = [\"dep:falco-{{name}}\"",
        "{{name}} = [\"dep:falco-{{name}}\", \"remote\"]\n",
    ),
    below("falco-cli/Cargo.toml", "\nfalco-{{name}} = { workspace = true", OPTIONAL),
    Place {
        file: "falco-cli/src/flags/platform/{{name}}.rs",
        mark: "",
        text: include_str!("../template/flags.rs"),
        at: At::Alone,
    },
    below(FLAGS, "\nmod {{name}};", "mod {{name}};\n"),
    below(FLAGS, "\n    {{Name}},\n", "    /// {{title}}.\n    {{Name}},\n"),
    before(
        FLAGS,
        "            #[allow(unreachable_patterns",
        "#[cfg(feature = \"{{name}}\")]\n            PlatformName::{{Name}} =>",
        "            #[cfg(feature = \"{{name}}\")]\n            \
         PlatformName::{{Name}} => {{name}}::connect().await,\n",
    ),
    Place {
        file: FLAGS,
        mark: "PlatformName::{{Name}} => {{name}}::inspect()",
        text: "            PlatformName::{{Name}} => {{name}}::inspect(),\n",
        at: At::Compiled("        }\n    }\n\n    /// The permissions that a run with"),
    },
    below(
        "falco-examples/Cargo.toml",
        "\n{{name}} = [\"falco-cli/{{name}}\"]",
        "{{name}} = [\"falco-cli/{{name}}\"]\n",
    ),
    behind(
        "falco-examples/Cargo.toml",
        "falco-examples = { path = \".\", features = [",
        "\"{{name}}\"",
        "\"{{name}}\", ",
    ),
    before("falco-examples/README.md", "`, and `--executor sequential", "|{{name}}", "|{{name}}"),
    below(
        "falco-tpch/Cargo.toml",
        "\n{{name}} = [\"falco-cli/{{name}}\"]",
        "{{name}} = [\"falco-cli/{{name}}\"]\n",
    ),
    before(
        "README.md",
        " | the platforms |",
        "[`falco-{{name}}`](",
        ", [`falco-{{name}}`](falco-{{name}})",
    ),
    // The guide's crate stays the last one, as the line says.
    before(
        "docs/architecture.md",
        "`falco-openfaas` | a platform each",
        "`falco-{{name}}`",
        "`falco-{{name}}`, ",
    ),
    before(
        "docs/settings.md",
        " | `connect` of the platform |",
        "`{{Name}}Config`",
        ", `{{Name}}Config`",
    ),
    before(
        "docs/settings.md",
        "\nEach method's documentation has the exact values.",
        "`{{Name}}Config::builder()",
        "| **{{title}}** | | |\n\
         | endpoint, token | `{{Name}}Config::builder()`: `endpoint`, `token`; or `{{NAME}}_ENDPOINT`, `{{NAME}}_TOKEN` | |\n\
         | how often and how long `deploy` asks for the new code | `.waits({{Name}}Waits)`: `with_rollout_interval`, `with_rollout_timeout` | twice a second, two minutes |\n",
    ),
    before(
        "CHANGELOG.md",
        "\n### Watching a run\n",
        "{{name}}",
        "- `falco-{{name}}` runs functions on {{title}}: feature `{{name}}` of `falco`, and `--platform {{name}}` on every program.\n",
    ),
];

/// The platform that every program has without being asked, so that lists of the others leave it out.
const DEFAULT: &str = "local";

/// The names of one platform.
#[derive(Debug)]
pub(crate) struct Names<'a> {
    /// Its crate without `falco-`.
    name: &'a str,
    /// How people write it.
    title: &'a str,
    /// The version of the workspace.
    version: &'a str,
}

impl<'a> Names<'a> {
    /// The names of a platform that is to be made.
    pub(crate) fn new(name: &'a str, title: &'a str, version: &'a str) -> Self {
        Self { name, title, version }
    }

    fn of(package: &'a Package) -> Self {
        let name = package.name.strip_prefix("falco-").unwrap_or(&package.name);
        Self::new(name, package.platform.as_deref().unwrap_or(name), &package.version)
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{{version}}", self.version)
            .replace("{{title}}", self.title)
            .replace("{{name}}", self.name)
            .replace("{{Name}}", &capital(self.name))
            .replace("{{NAME}}", &self.name.to_ascii_uppercase())
    }
}

/// A platform's name as the beginning of the names of its types.
pub(crate) fn capital(name: &str) -> String {
    let mut capital = name.to_owned();
    if let Some(first) = capital.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    capital
}

/// Checks that each platform of the workspace is entered everywhere.
pub(crate) fn check(metadata: &Metadata, root: &Path) -> anyhow::Result<()> {
    let missing: Vec<String> = metadata
        .platforms()
        .map(|platform| missing(&Names::of(platform), root))
        .collect::<anyhow::Result<Vec<_>>>()?
        .concat();
    ensure!(
        missing.is_empty(),
        "these platforms are not entered everywhere:\n{}",
        missing.join("\n")
    );
    Ok(())
}

/// Each place in which the platform is missing: its name, the file, and what to add there.
fn missing(names: &Names<'_>, root: &Path) -> anyhow::Result<Vec<String>> {
    let mut missing = Vec::new();
    for place in PLACES {
        let of_others = matches!(place.at, At::Behind(_)) || place.mark.starts_with('|');
        if of_others && names.name == DEFAULT || !place.is_linted() {
            continue;
        }
        let file = names.fill(place.file);
        let path = root.join(&file);
        let is_there = match place.at {
            At::Alone => path.is_file(),
            _ => has(&read(&path)?, &names.fill(place.mark)),
        };
        if !is_there {
            let text = names.fill(place.text);
            let text = text.trim_matches('\n').replace('\n', "\n      ");
            let into = match place.at {
                At::Alone => "make it, such as:".to_owned(),
                At::Below => "add below the other platforms:".to_owned(),
                At::Before(anchor) | At::Compiled(anchor) => {
                    format!("add before {:?}:", anchor.trim())
                }
                At::Behind(anchor) => format!("add behind {anchor:?}:"),
            };
            missing.push(format!("  falco-{}: {file}: {into}\n      {text}", names.name));
        }
    }
    Ok(missing)
}

/// Enters a platform beside `others` in every place in which it is missing.
pub(crate) fn enter(names: &Names<'_>, others: &[String], root: &Path) -> anyhow::Result<()> {
    for place in PLACES {
        let path = root.join(names.fill(place.file));
        let text = names.fill(place.text);
        let added = match place.at {
            At::Alone if path.is_file() => continue,
            At::Alone => text,
            _ => {
                let page = read(&path)?;
                if has(&page, &names.fill(place.mark)) {
                    continue;
                }
                with(&page, place, &text, others).with_context(|| path.display().to_string())?
            }
        };
        fs::write(&path, added).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// `page` with `text` in its place.
fn with(page: &str, place: &Place, text: &str, others: &[String]) -> anyhow::Result<String> {
    let once = |anchor: &str| {
        ensure!(page.matches(anchor).count() == 1, "it has not one {anchor:?}");
        page.find(anchor).context("no anchor")
    };
    let at = match place.at {
        At::Below => {
            let small = page.to_ascii_lowercase();
            let ends = others.iter().filter_map(|other| {
                let mark = Names::new(other, "", "").fill(place.mark).to_ascii_lowercase();
                Some(small.rfind(&mark)? + mark.trim_end().len())
            });
            let last = ends.max().with_context(|| format!("it has no {:?}", place.mark))?;
            page[last..].find('\n').map_or(page.len(), |end| last + end + 1)
        }
        At::Before(anchor) | At::Compiled(anchor) => once(anchor)?,
        At::Behind(anchor) => once(anchor)? + anchor.len(),
        At::Alone => return Ok(text.to_owned()),
    };
    Ok([&page[..at], text, &page[at..]].concat())
}

/// Types write a platform's name as its makers do, such as `OpenFaaS`.
fn has(page: &str, mark: &str) -> bool {
    page.to_ascii_lowercase().contains(&mark.to_ascii_lowercase())
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::shell::root;

    const FISSION: Names<'_> = Names { name: "fission", title: "Fission", version: "0.1.0" };

    /// The files of all places, as they are now, in a folder of their own.
    fn copy() -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        for place in PLACES {
            let to = copy.path().join(place.file);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            if !matches!(place.at, At::Alone) {
                fs::copy(root().join(place.file), to).unwrap();
            }
        }
        copy
    }

    fn others() -> Vec<String> {
        let metadata = Metadata::read().unwrap();
        metadata.platforms().map(|one| one.name.replace("falco-", "")).collect()
    }

    #[test]
    fn the_platforms_of_this_workspace_are_entered_everywhere() {
        let metadata = Metadata::read().unwrap();
        assert!(metadata.platforms().count() >= 6);
        check(&metadata, &root()).unwrap();
    }

    #[test]
    fn a_platform_that_is_entered_nowhere_is_named_with_every_file_and_what_to_add() {
        let missing = missing(&FISSION, &root()).unwrap();
        let places: Vec<&Place> = PLACES.iter().filter(|place| place.is_linted()).collect();
        assert_eq!(missing.len(), places.len(), "{missing:#?}");
        for (place, missing) in places.into_iter().zip(&missing) {
            assert!(missing.contains(&FISSION.fill(place.file)), "{missing}");
            let last = FISSION.fill(place.text);
            assert!(missing.contains(last.trim().lines().last().unwrap()), "{missing}");
        }
    }

    #[test]
    fn a_platform_that_new_platform_makes_is_entered_everywhere_and_nothing_else_changes() {
        let copy = copy();
        enter(&FISSION, &others(), copy.path()).unwrap();
        assert_eq!(missing(&FISSION, copy.path()).unwrap(), [""; 0]);
        let files: BTreeSet<&str> = PLACES.iter().map(|place| place.file).collect();
        for file in files.into_iter().filter(|file| !file.contains("{{")) {
            let before = read(&root().join(file)).unwrap();
            let after = read(&copy.path().join(file)).unwrap();
            let mut rest = after;
            for place in PLACES.iter().filter(|place| place.file == file) {
                let text = FISSION.fill(place.text);
                assert!(rest.contains(&text), "{file}: {text}");
                rest = rest.replacen(&text, "", 1);
            }
            assert_eq!(rest, before, "{file}");
        }
        // A second time there is nothing to do.
        let page = read(&copy.path().join("Cargo.toml")).unwrap();
        enter(&FISSION, &[], copy.path()).unwrap();
        assert_eq!(read(&copy.path().join("Cargo.toml")).unwrap(), page);
    }

    #[test]
    fn a_platform_that_is_missing_in_one_place_is_named_for_that_place() {
        let in_files = |place: &&Place| place.is_linted() && !matches!(place.at, At::Alone);
        let copy = copy();
        enter(&FISSION, &others(), copy.path()).unwrap();
        for place in PLACES.iter().filter(in_files) {
            let path = copy.path().join(place.file);
            let whole = read(&path).unwrap();
            fs::write(&path, whole.replacen(&FISSION.fill(place.text), "", 1)).unwrap();
            let missing = missing(&FISSION, copy.path()).unwrap();
            fs::write(&path, whole).unwrap();
            assert_eq!(missing.len(), 1, "{place:?}: {missing:#?}");
            assert!(missing[0].contains(place.file), "{missing:?}");
        }
    }
}
