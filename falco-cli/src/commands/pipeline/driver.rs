//! The plan that a file describes, and where its results go.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU32;
use std::path::PathBuf;

use falco_cli::Launch;
use falco_cli::flags::{FunctionFlags, PackageFlags, open_store};
use falco_core::{
    BoxStream, Completion, Driver, ExecutionPlan, Input, Result, Stage, StageName, StagePolicy,
    Verdict,
};
use falco_data::{Sink, SplitsOf, Store};
use falco_executors::RunOutcome;
use futures_util::{StreamExt, stream};
use toml::Spanned;

use super::derive::{derived, output, sink};
use super::file::{Described, FormatName, StageTable};
use super::outputs::{Outputs, Written};
use crate::commands::function;
use crate::commands::inputs::{Format, Given, Sources};
use crate::commands::objects::{committed, scratch_below, with_out};

/// The plan of a file.
#[derive(Debug)]
pub(super) struct Pipeline {
    name: String,
    stages: Vec<Stage>,
    outputs: Outputs,
    objects: Option<Stores>,
}

/// The stores that the file names.
#[derive(Debug)]
pub(super) struct Stores {
    pub(super) scratch: Store,
    pub(super) inputs: Vec<Store>,
    pub(super) outputs: BTreeMap<StageName, Store>,
}

impl Stores {
    async fn complete(&self, outcome: &RunOutcome, mut written: Written) -> Result<()> {
        for (stage, output) in &self.outputs {
            let results = written.remove(stage).unwrap_or_default();
            committed(output, outcome, &results).await?;
        }
        Ok(())
    }
}

impl Pipeline {
    /// Reads the functions, looks for the inputs and opens the outputs.
    pub(super) fn new(described: &Described, flags: &FunctionFlags) -> anyhow::Result<Self> {
        let (mut stages, mut merging) = (Vec::new(), Vec::new());
        for table in &described.stages {
            let (stage, merge) = stage(described, table, flags)?;
            stages.push(stage);
            merging.extend(merge);
        }
        stages.extend(merging);
        let plan = ExecutionPlan::new(stages.clone());
        let plan = plan.map_err(|error| described.error_of_all(error))?;
        let objects = stores(described)?;
        let outputs = Outputs::new(described, &plan, |stage| {
            objects.as_ref().and_then(|objects| objects.outputs.get(stage)).map(Store::url)
        })?;
        Ok(Self { name: described.name.clone(), stages, outputs, objects })
    }

    /// The stores that the file names, if any.
    pub(super) fn objects(&self) -> Option<&Stores> {
        self.objects.as_ref()
    }

    /// Completes the outputs that are stores, of a run that succeeded, and deletes what the run kept for itself.
    pub(super) async fn commit(&self, outcome: &RunOutcome) -> anyhow::Result<()> {
        let Some(objects) = &self.objects else { return Ok(()) };
        let written = self.outputs.written();
        let completed = match outcome.is_success() {
            true => objects.complete(outcome, written).await,
            false => Ok(()),
        };
        falco_cli::clean_scratch(&objects.scratch, outcome).await?;
        Ok(completed?)
    }

    /// Adds third-party packages to the functions: those that the file names for a stage, else those of the command line.
    pub(super) async fn add_packages(
        &mut self,
        described: &Described,
        for_all: &PackageFlags,
        launch: &Launch<'_>,
    ) -> anyhow::Result<()> {
        let capabilities = launch.capabilities();
        let mut fits_any = for_all.is_empty();
        for (table, stage) in described.stages.iter().zip(&mut self.stages) {
            let own = table.packages(described);
            let packages = match own.is_empty() {
                true if for_all.fits(&stage.function.runtime) => for_all,
                true => continue,
                false => &own,
            };
            fits_any |= own.is_empty();
            let function = stage.function.clone();
            let added = packages.add_to(function, launch.platform_name(), &capabilities).await;
            let at = [&table.requirements, &table.package].into_iter().flatten().next();
            let at = at.map_or_else(|| table.function.span(), Spanned::span);
            stage.function = added.map_err(|error| described.error(&at, format!("{error:#}")))?;
        }
        anyhow::ensure!(
            fits_any,
            "--requirements and --package fit no stage: they are for functions in Python, --package also for those in \
             Node.js, and a stage's own keys come first"
        );
        Ok(())
    }

    /// Waits until everything is written, and says where the results are; nothing if the reader of stdout has gone away.
    pub(super) fn finish(&mut self) -> anyhow::Result<Option<String>> {
        self.outputs.finish()
    }
}

impl Driver for Pipeline {
    fn name(&self) -> &str {
        &self.name
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        ExecutionPlan::new(self.stages.clone())
    }

    fn before_stage(&self, _stage: &Stage) -> Verdict {
        self.outputs.begin()
    }

    fn on_completion(&self, completion: &Completion) -> Verdict {
        self.outputs.take(completion)
    }
}

fn stage(
    described: &Described,
    table: &StageTable,
    flags: &FunctionFlags,
) -> anyhow::Result<(Stage, Option<Stage>)> {
    let name = table.name.get_ref().as_str();
    let path = described.beside(table.function.get_ref());
    let at = table.function.span();
    let loaded = function::load(&path, table.runtime.clone());
    let mut function = flags.set_up(loaded.map_err(|e| described.error(&at, format!("{e:#}")))?);
    // What the file says of a stage comes before the flags for all.
    function.scaling.memory_mib = table.memory.map(NonZeroU32::get).or(function.scaling.memory_mib);
    function.scaling.timeout = table.timeout.or(function.scaling.timeout);
    function.entry_point = table.entry_point.clone().or(function.entry_point);
    if let Some(image) = &table.image {
        function = function.with_image(image.as_str());
    }
    for (variable, value) in &table.env {
        function = function.with_env(variable, value);
    }
    // Two stages may share a file.
    let function = function.with_name(name);
    function.validate().map_err(|error| described.error(&table.name.span(), error))?;

    let (stage, merge) = match (&table.inputs, &table.after) {
        (Some(_), _) if let Some(splits) = splits(described, table)? => {
            let splits = match sink(described, table)? {
                Some(sink) => splits.with_sink(sink),
                None => splits,
            };
            (Stage::new(name, function, move || splits.inputs()), None)
        }
        (Some(inputs), _) => {
            let format = format_of(table.format);
            let sources = sources(described, inputs.get_ref().all(), format);
            let sources = sources.map_err(|e| described.error(&inputs.span(), format!("{e:#}")))?;
            let sink = sink(described, table)?;
            (Stage::new(name, function, move || open(&sources, format, sink.clone())), None)
        }
        (None, after) => {
            let upstream: Vec<&str> =
                after.iter().flat_map(|after| after.get_ref().all()).map(String::as_str).collect();
            derived(described, table, function, &upstream)?
        }
    };
    let stage = match (table.pure, table.idempotent) {
        (true, _) => stage.pure(),
        (false, true) => stage.idempotent(),
        (false, false) => stage,
    };
    let stage = match table.deadline {
        Some(deadline) => stage.with_deadline(deadline),
        None => stage,
    };
    let stage = match table.concurrency {
        Some(calls) => stage.with_policy(StagePolicy::default().with_concurrency(calls.get())),
        None => stage,
    };
    Ok((stage, merge))
}

/// The splits of a stage whose inputs are objects.
fn splits(described: &Described, table: &StageTable) -> anyhow::Result<Option<SplitsOf>> {
    let Some((url, at)) = table.url() else { return Ok(None) };
    let store = open_store(url).map_err(|error| described.error(&at, error))?;
    let split = table.split.as_ref().map(|split| split.get_ref().clone()).unwrap_or_default();
    Ok(Some(split.of(&store)))
}

/// The stores that the stages read and write, and the one for what lives no longer than the run.
fn stores(described: &Described) -> anyhow::Result<Option<Stores>> {
    let (mut inputs, mut outputs) = (Vec::new(), BTreeMap::<StageName, Store>::new());
    for table in &described.stages {
        if let Some((url, at)) = table.url() {
            inputs.push(open_store(url).map_err(|error| described.error(&at, error))?);
        }
        if let Some(store) = output(described, table)? {
            let overlaps = |(_, other): &(&StageName, &Store)| {
                store.holds(other.url()) || other.holds(store.url())
            };
            if let Some((name, other)) = outputs.iter().find(overlaps) {
                let what = format!(
                    "stage {name} writes to {}, and one of the two places lies in the other: give each stage a folder of its own, \
                     since completing an output deletes what else the run wrote there",
                    other.url()
                );
                let at = table.output.as_ref().map_or(0..0, Spanned::span);
                return Err(described.error(&at, what));
            }
            outputs.insert(StageName::from(table.name.get_ref().as_str()), store);
        }
    }
    let scratch = match (&described.scratch, outputs.values().next()) {
        (Some(scratch), _) => {
            let url = scratch.get_ref();
            let place = match url.contains("://") {
                true => open_store(url),
                false => Store::folder(described.beside(url)),
            };
            place.map_err(|error| described.error(&scratch.span(), error))?
        }
        (None, Some(output)) => scratch_below(output)?,
        (None, None) if inputs.is_empty() && !described.exchanges() => return Ok(None),
        (None, None) => {
            let what = "the pipeline needs a place for what lives no longer than a run: add scratch = \"URL\" before the \
                        first stage";
            return Err(described.error(&(0..0), what));
        }
    };
    Ok(Some(Stores { scratch, inputs, outputs }))
}

fn format_of(name: Option<FormatName>) -> Format {
    match name {
        None | Some(FormatName::Json) => Format::Json,
        Some(FormatName::Text) => Format::Text,
        Some(FormatName::Csv) => Format::Csv,
        Some(FormatName::Files) => Format::Files,
    }
}

/// The files of inputs, sorted where a pattern names them.
fn sources(
    described: &Described,
    names: &[String],
    format: Format,
) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for name in names {
        let path = described.beside(name);
        let pattern = path.file_name().map(|it| it.to_string_lossy().into_owned());
        match pattern {
            Some(pattern) if pattern.contains(['*', '?']) && !path.exists() => {
                let folder = path.parent().unwrap_or(std::path::Path::new("."));
                let mut found = Vec::new();
                for entry in fs::read_dir(folder)? {
                    let entry = entry?;
                    if matches(&pattern, &entry.file_name().to_string_lossy()) {
                        found.push(entry.path());
                    }
                }
                anyhow::ensure!(!found.is_empty(), "no file is named {}", path.display());
                found.sort();
                paths.extend(found);
            }
            _ => paths.push(path),
        }
    }
    Sources::new(paths.clone(), format)?;
    Ok(paths)
}

/// Whether a name fits a pattern, in which `*` is any text and `?` any character.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.chars().next() {
        None => name.is_empty(),
        Some('*') => {
            let rest = &pattern[1..];
            let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
            ends.into_iter().any(|at| matches(rest, &name[at..]))
        }
        Some(first) => match name.chars().next() {
            Some(c) if first == '?' || first == c => {
                matches(&pattern[first.len_utf8()..], &name[c.len_utf8()..])
            }
            _ => false,
        },
    }
}

fn open(
    paths: &[PathBuf],
    format: Format,
    sink: Option<Sink>,
) -> BoxStream<'static, Result<Input>> {
    let inputs = Sources::new(paths.to_vec(), format).and_then(|sources| {
        sources.read(format).map_err(|error| {
            falco_core::Error::new(falco_core::ErrorKind::Other, "cannot start a thread")
                .with_source(&error)
        })
    });
    match inputs {
        Err(error) => stream::iter([Err(error)]).boxed(),
        Ok(inputs) => stream::unfold((inputs, 0), move |(mut inputs, place)| {
            let sink = sink.clone().map(|sink| sink.numbered(place as u64));
            async move {
                let input = match (inputs.recv().await?, &sink) {
                    (Given::Argument(payload), Some(sink)) => with_out(&payload, sink),
                    (Given::Argument(payload), None) => Ok(payload),
                    (Given::Invalid(error) | Given::Broken(error), _) => Err(error),
                };
                let input = input.map(|payload| Input::numbered(place, payload));
                Some((input, (inputs, place + 1)))
            }
        })
        .boxed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, fits) in [
            ("*.txt", "a.txt", true),
            ("*.txt", ".txt", true),
            ("*.txt", "a.txt.gz", false),
            ("a?c*", "abcd", true),
            ("a?c", "ac", false),
            ("ä*", "äö", true),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
