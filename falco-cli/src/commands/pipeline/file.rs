//! The file that describes a pipeline. An error names the file, the line and the key.

use std::collections::BTreeMap;
use std::fs;
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use falco_cli::flags::PackageFlags;
use falco_core::RuntimeName;
use serde::Deserialize;
use serde::de::Error as _;
use toml::Spanned;

use crate::commands::objects::{SplitBy, bytes};

/// A pipeline as its file describes it.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) name: String,
    pub(super) stages: Vec<StageTable>,
    /// Where objects go that live no longer than a run.
    pub(super) scratch: Option<Spanned<String>>,
    path: PathBuf,
    text: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Table {
    name: Option<String>,
    scratch: Option<Spanned<String>>,
    stage: Vec<StageTable>,
}

/// One stage.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct StageTable {
    pub(super) name: Spanned<String>,
    /// The function's file, folder or archive.
    pub(super) function: Spanned<PathBuf>,
    #[serde(default, deserialize_with = "runtime")]
    pub(super) runtime: Option<RuntimeName>,
    pub(super) entry_point: Option<String>,
    /// The image that the function runs in.
    pub(super) image: Option<String>,
    pub(super) memory: Option<NonZeroU32>,
    #[serde(default, deserialize_with = "duration")]
    pub(super) timeout: Option<Duration>,
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    /// The packages that travel with the function.
    pub(super) requirements: Option<Spanned<PathBuf>>,
    pub(super) package: Option<Spanned<PathBuf>>,
    #[serde(default)]
    pub(super) idempotent: bool,
    /// Whether results follow from the code and the arguments alone.
    #[serde(default)]
    pub(super) pure: bool,
    pub(super) concurrency: Option<NonZeroUsize>,
    #[serde(default, deserialize_with = "duration")]
    pub(super) deadline: Option<Duration>,
    /// Files of inputs, `*` and `?` in their names included; or the URL of objects.
    pub(super) inputs: Option<Spanned<OneOrMany>>,
    /// How objects are cut.
    #[serde(default, deserialize_with = "split")]
    pub(super) split: Option<Spanned<SplitBy>>,
    pub(super) format: Option<FormatName>,
    /// The stages that it follows.
    pub(super) after: Option<Spanned<OneOrMany>>,
    pub(super) derivation: Option<Spanned<Derivation>>,
    /// Where its results go: a file, or the URL of a store for the objects that its functions write.
    pub(super) output: Option<Spanned<PathBuf>>,
}

impl StageTable {
    /// The packages of its own.
    pub(super) fn packages(&self, described: &Described) -> PackageFlags {
        let beside = |path: &Option<Spanned<PathBuf>>| {
            path.as_ref().map(|path| described.beside(path.get_ref()))
        };
        PackageFlags { requirements: beside(&self.requirements), package: beside(&self.package) }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(super) fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum FormatName {
    Json,
    Text,
    Csv,
    Files,
}

/// How the inputs of a stage follow from the results of those before.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a derivation is \"one-to-one\", \"fan-in\", \"merge\", { fan-out = \"FIELD\" }, \
    { chunks = N }, { shuffle = \"FIELD\", partitions = N } or { exchange = \"FIELD\", partitions = N }"
)]
pub(super) enum Derivation {
    Named(NamedDerivation),
    FanOut(FanOutTable),
    Chunks(ChunksTable),
    Shuffle(ShuffleTable),
    Exchange(ExchangeTable),
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum NamedDerivation {
    OneToOne,
    FanIn,
    Merge,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct FanOutTable {
    pub(super) fan_out: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChunksTable {
    pub(super) chunks: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShuffleTable {
    pub(super) shuffle: String,
    pub(super) partitions: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ExchangeTable {
    pub(super) exchange: String,
    pub(super) partitions: NonZeroU32,
    /// How many mappers are merged at a time, where two levels are wanted.
    pub(super) fan_in: Option<u32>,
    /// The largest partition, in bytes: a larger one fails the stage before it starts.
    #[serde(default, deserialize_with = "size")]
    pub(super) max_partition: Option<u64>,
}

impl StageTable {
    /// The URL of its inputs, if they are objects.
    pub(super) fn url(&self) -> Option<(&str, Range<usize>)> {
        let inputs = self.inputs.as_ref()?;
        let url = inputs.get_ref().all().first().filter(|first| first.contains("://"))?;
        Some((url, inputs.span()))
    }
}

fn split<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Spanned<SplitBy>>, D::Error> {
    let text = Spanned::<String>::deserialize(from)?;
    let (span, text) = (text.span(), text.into_inner());
    text.parse().map(|split| Some(Spanned::new(span, split))).map_err(D::Error::custom)
}

fn size<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    bytes(&String::deserialize(from)?).map(Some).map_err(D::Error::custom)
}

fn runtime<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<RuntimeName>, D::Error> {
    String::deserialize(from)?.parse().map(Some).map_err(D::Error::custom)
}

fn duration<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    falco_cli::flags::duration(&String::deserialize(from)?).map(Some).map_err(D::Error::custom)
}

/// Reads a file.
///
/// # Errors
///
/// When it cannot be read, or does not describe a pipeline; with the line and the key.
pub(super) fn read(path: &Path) -> anyhow::Result<Described> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let table: Table = toml::from_str(&text).map_err(|error| {
        let place = error.span().map(|span| place(&text, &span)).unwrap_or_default();
        anyhow!("{shown}{place}: {}", error.message())
    })?;
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = table.name.clone().or(stem).unwrap_or_default();
    let Table { stage: stages, scratch, .. } = table;
    let described = Described { name, stages, scratch, path: path.to_owned(), text };
    described.check()?;
    Ok(described)
}

/// `:LINE: KEY`, or `:LINE` where the line has no key.
fn place(text: &str, span: &Range<usize>) -> String {
    let start = span.start.min(text.len());
    let before = text.get(..start).unwrap_or(text);
    let number = before.matches('\n').count() + 1;
    let line = text.lines().nth(number - 1).unwrap_or_default();
    match line.split_once('=') {
        Some((key, _)) => format!(":{number}: {}", key.trim()),
        None => format!(":{number}"),
    }
}

impl Described {
    /// An error about something in the file.
    pub(super) fn error(&self, at: &Range<usize>, what: impl std::fmt::Display) -> anyhow::Error {
        anyhow!("{}{}: {what}", self.path.display(), place(&self.text, at))
    }

    /// An error about the pipeline as a whole.
    pub(super) fn error_of_all(&self, what: impl std::fmt::Display) -> anyhow::Error {
        anyhow!("{}: {what}", self.path.display())
    }

    /// A path that the file names: relative ones are beside it.
    pub(super) fn beside(&self, path: impl AsRef<Path>) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// Whether a stage shuffles objects.
    pub(super) fn exchanges(&self) -> bool {
        let mut derivations = self.stages.iter().filter_map(|stage| stage.derivation.as_ref());
        derivations.any(|it| matches!(it.get_ref(), Derivation::Exchange(_)))
    }

    fn check(&self) -> anyhow::Result<()> {
        for (index, stage) in self.stages.iter().enumerate() {
            let (name, at) = (stage.name.get_ref(), stage.name.span());
            if self.stages[..index].iter().any(|earlier| earlier.name.get_ref() == name) {
                return Err(self.error(&at, format!("there are two stages {name:?}")));
            }
            for upstream in stage.after.iter().flat_map(|after| after.get_ref().all()) {
                let known = self.stages.iter().any(|other| other.name.get_ref() == upstream);
                let span = stage.after.as_ref().map_or(at.clone(), Spanned::span);
                if !known {
                    return Err(self.error(&span, format!("there is no stage {upstream:?}")));
                }
            }
            match (&stage.inputs, &stage.after) {
                (None, None) => {
                    let what = format!("the stage {name:?} needs inputs, or after with a stage");
                    return Err(self.error(&at, what));
                }
                (Some(inputs), Some(_)) => {
                    let what = format!("the stage {name:?} has inputs and follows others: use one");
                    return Err(self.error(&inputs.span(), what));
                }
                (Some(inputs), _) if inputs.get_ref().all().is_empty() => {
                    let what = format!("the stage {name:?} names no file of inputs");
                    return Err(self.error(&inputs.span(), what));
                }
                (_, Some(after)) if after.get_ref().all().is_empty() => {
                    let what = format!("the stage {name:?} names no stage that it follows");
                    return Err(self.error(&after.span(), what));
                }
                _ => {}
            }
            check_objects(self, stage)?;
            if let (Some(derivation), None) = (&stage.derivation, &stage.after) {
                let what = "a stage with inputs of its own has no derivation";
                return Err(self.error(&derivation.span(), what));
            }
        }
        self.check_order()
    }

    /// Refuses stages that wait for each other.
    fn check_order(&self) -> anyhow::Result<()> {
        let upstream = |stage: &StageTable| -> Vec<String> {
            stage.after.iter().flat_map(|after| after.get_ref().all()).cloned().collect()
        };
        let mut left: Vec<&StageTable> = self.stages.iter().collect();
        loop {
            let waits = |stage: &&StageTable| {
                upstream(stage).iter().any(|name| left.iter().any(|it| it.name.get_ref() == name))
            };
            let still: Vec<&StageTable> = left.iter().copied().filter(waits).collect();
            if still.len() < left.len() {
                left = still;
                continue;
            }
            let Some(after) = still.iter().find_map(|stage| stage.after.as_ref()) else {
                return Ok(());
            };
            let names: Vec<&str> = still.iter().map(|it| it.name.get_ref().as_str()).collect();
            let what = format!("the stages {} wait for each other", names.join(", "));
            return Err(self.error(&after.span(), what));
        }
    }
}

/// Refuses settings for lines of files where the inputs are objects, and settings for splits where they are files.
fn check_objects(described: &Described, stage: &StageTable) -> anyhow::Result<()> {
    let name = stage.name.get_ref();
    match (stage.url(), &stage.split) {
        (None, Some(split)) => {
            let what = format!("the inputs of stage {name:?} are not the URL of objects to be cut");
            Err(described.error(&split.span(), what))
        }
        (Some((_, at)), _) if stage.format.is_some() => {
            let what = format!("the stage {name:?} reads objects: use split instead of format");
            Err(described.error(&at, what))
        }
        (Some((_, at)), _) if stage.inputs.iter().any(|it| it.get_ref().all().len() > 1) => {
            let what = format!("the stage {name:?} reads objects: name one URL");
            Err(described.error(&at, what))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.toml");
        fs::write(&path, text).unwrap();
        read(&path).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn an_error_names_file_line_and_key() {
        let stage = "[[stage]]\nname = \"a\"\nfunction = \"a.py\"\n";
        for (text, place, words) in [
            ("[[stage]\n".to_owned(), "p.toml:1", ""),
            (format!("{stage}inputs = \"i\"\ntimeout = \"soon\"\n"), "p.toml:5: timeout", "number"),
            (format!("{stage}inputs = \"i\"\nmemory = -1\n"), "p.toml:5: memory", "u32"),
            (format!("{stage}inputs = \"i\"\nmemory = 0\n"), "p.toml:5: memory", "nonzero"),
            (format!("{stage}inputs = \"i\"\nconcurrency = 0\n"), "p.toml:5: concur", "nonzero"),
            (format!("{stage}inputs = []\n"), "p.toml:4: inputs", "names no file"),
            (format!("{stage}after = []\n"), "p.toml:4: after", "names no stage"),
            (format!("{stage}inputs = \"i\"\ncolour = 1\n"), "p.toml:5: colour", "unknown field"),
            (format!("{stage}inputs = \"i\"\nruntime = \"x:\"\n"), "p.toml:5: runtime", "x:"),
            (format!("{stage}after = \"b\"\n"), "p.toml:4: after", "no stage \"b\""),
            (stage.to_owned(), "p.toml:2: name", "needs inputs"),
            (
                format!("{stage}inputs = \"i\"\nsplit = \"lines\"\n"),
                "p.toml:5: split",
                "not the URL",
            ),
            (
                format!("{stage}inputs = \"file:///i\"\nsplit = \"rows\"\n"),
                "p.toml:5: split",
                "\"rows\" is unknown",
            ),
            (
                format!("{stage}inputs = \"file:///i\"\nformat = \"text\"\n"),
                "p.toml:4: inputs",
                "use split instead",
            ),
            (
                format!("{stage}inputs = \"i\"\n{stage}inputs = \"i\"\n"),
                "p.toml:6: name",
                "two stages",
            ),
            (
                format!("{stage}inputs = \"i\"\nderivation = \"fan-in\"\n"),
                "p.toml:5: derivation",
                "no derivation",
            ),
            (
                format!("{stage}after = \"a\"\nderivation = {{ chunks = \"x\" }}\n"),
                "p.toml:5: derivation",
                "a derivation is \"one-to-one\"",
            ),
        ] {
            let error = error_of(&text);
            assert!(error.contains(place) && error.contains(words), "{text}\n{error}");
        }
    }
}
