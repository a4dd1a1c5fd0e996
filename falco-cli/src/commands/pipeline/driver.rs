//! The plan that a file describes, and where its results go.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use falco_cli::Launch;
use falco_cli::flags::{FunctionFlags, PackageFlags};
use falco_core::{
    BoxStream, Completion, Driver, ExecutionPlan, Input, Result, Stage, StageName, StagePolicy,
    Verdict,
};
use falco_executors::{Chunks, FanIn, FanOut, Merge, OneToOne, Shuffle};
use futures_util::{StreamExt, stream};
use toml::Spanned;

use super::file::{Derivation, Described, FormatName, NamedDerivation, StageTable};
use crate::commands::function;
use crate::commands::inputs::{Format, Given, Sources};

/// The plan of a file.
#[derive(Debug)]
pub(super) struct Pipeline {
    name: String,
    stages: Vec<Stage>,
    outputs: Mutex<Outputs>,
}

/// The results that are written, by stage.
struct Outputs {
    files: BTreeMap<StageName, BufWriter<Box<dyn Write + Send>>>,
    error: Option<io::Error>,
    names: Vec<String>,
}

impl std::fmt::Debug for Outputs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Outputs").field(&self.names).finish()
    }
}

impl Pipeline {
    /// Reads the functions, looks for the inputs and makes the outputs.
    pub(super) fn new(described: &Described, flags: &FunctionFlags) -> anyhow::Result<Self> {
        let mut stages = Vec::new();
        for table in &described.stages {
            stages.push(stage(described, table, flags)?);
        }
        let plan = ExecutionPlan::new(stages.clone())?;
        let mut outputs = Outputs { files: BTreeMap::new(), error: None, names: Vec::new() };
        for table in &described.stages {
            let name = StageName::from(table.name.get_ref().as_str());
            let to: Box<dyn Write + Send> = match &table.output {
                Some(path) => {
                    let at = described.beside(path.get_ref());
                    let file = File::create(&at).map_err(|error| {
                        let what = format!("cannot write to {}: {error}", at.display());
                        described.error(&path.span(), what)
                    })?;
                    outputs.names.push(at.display().to_string());
                    Box::new(file)
                }
                None if plan.downstream(&name).next().is_none() => {
                    outputs.names.push("stdout".to_owned());
                    Box::new(io::stdout())
                }
                None => continue,
            };
            outputs.files.insert(name, BufWriter::new(to));
        }
        Ok(Self { name: described.name.clone(), stages, outputs: Mutex::new(outputs) })
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

    /// Writes what is left, and says where the results are.
    pub(super) fn finish(&self) -> anyhow::Result<String> {
        let mut outputs = self.lock();
        for file in outputs.files.values_mut() {
            if let Err(error) = file.flush()
                && error.kind() != io::ErrorKind::BrokenPipe
            {
                return Err(anyhow::Error::new(error).context("cannot write results"));
            }
        }
        match outputs.error.take() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(anyhow::Error::new(error).context("cannot write results"))
            }
            _ => {
                outputs.names.dedup();
                Ok(format!("in all stages, those of the last ones in {}", outputs.names.join(", ")))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Outputs> {
        self.outputs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Driver for Pipeline {
    fn name(&self) -> &str {
        &self.name
    }

    fn plan(&self) -> Result<ExecutionPlan> {
        ExecutionPlan::new(self.stages.clone())
    }

    fn on_completion(&self, completion: &Completion) -> Verdict {
        let Some(result) = completion.result() else { return Verdict::Continue };
        let mut outputs = self.lock();
        let Some(file) = outputs.files.get_mut(&completion.stage) else { return Verdict::Continue };
        match writeln!(file, "{}", result.as_str()) {
            Ok(()) => Verdict::Continue,
            Err(error) => {
                outputs.error.get_or_insert(error);
                Verdict::Stop
            }
        }
    }
}

fn stage(
    described: &Described,
    table: &StageTable,
    flags: &FunctionFlags,
) -> anyhow::Result<Stage> {
    let name = table.name.get_ref().as_str();
    let path = described.beside(table.function.get_ref());
    let at = table.function.span();
    let loaded = function::load(&path, table.runtime.clone());
    let mut function = flags.set_up(loaded.map_err(|e| described.error(&at, format!("{e:#}")))?);
    // What the file says of a stage comes before the flags for all.
    function.scaling.memory_mib = table.memory.or(function.scaling.memory_mib);
    function.scaling.timeout = table.timeout.or(function.scaling.timeout);
    function.entry_point = table.entry_point.clone().or(function.entry_point);
    for (variable, value) in &table.env {
        function = function.with_env(variable, value);
    }
    // Two stages may share a file.
    let function = function.with_name(name);
    function.validate().map_err(|error| described.error(&table.name.span(), error))?;

    let stage = match (&table.inputs, &table.after) {
        (Some(inputs), _) => {
            let format = format_of(table.format);
            let sources = sources(described, inputs.get_ref().all(), format);
            let sources = sources.map_err(|e| described.error(&inputs.span(), format!("{e:#}")))?;
            Stage::new(name, function, move || open(&sources, format))
        }
        (None, after) => {
            let upstream: Vec<&str> =
                after.iter().flat_map(|after| after.get_ref().all()).map(String::as_str).collect();
            derived(described, table, function, &upstream)?
        }
    };
    let stage = if table.idempotent { stage.idempotent() } else { stage };
    let stage = match table.deadline {
        Some(deadline) => stage.with_deadline(deadline),
        None => stage,
    };
    Ok(match table.concurrency {
        Some(calls) => stage.with_policy(StagePolicy::default().with_concurrency(calls)),
        None => stage,
    })
}

fn derived(
    described: &Described,
    table: &StageTable,
    function: falco_core::Deployable,
    upstream: &[&str],
) -> anyhow::Result<Stage> {
    let name = table.name.get_ref().as_str();
    let upstream = upstream.iter().copied();
    let Some(derivation) = &table.derivation else {
        return Ok(Stage::derived(name, function, upstream, OneToOne::new()));
    };
    let failed = |error| described.error(&derivation.span(), error);
    Ok(match derivation.get_ref() {
        Derivation::Named(NamedDerivation::OneToOne) => {
            Stage::derived(name, function, upstream, OneToOne::new())
        }
        Derivation::Named(NamedDerivation::FanIn) => {
            Stage::derived(name, function, upstream, FanIn::new())
        }
        Derivation::Named(NamedDerivation::Merge) => {
            Stage::derived(name, function, upstream, Merge::new())
        }
        Derivation::FanOut(table) => {
            Stage::derived(name, function, upstream, FanOut::of_field(table.fan_out.as_str()))
        }
        Derivation::Chunks(table) => {
            Stage::derived(name, function, upstream, Chunks::of(table.chunks).map_err(failed)?)
        }
        Derivation::Shuffle(table) => {
            let shuffle = Shuffle::of_field(table.shuffle.as_str(), table.partitions);
            Stage::derived(name, function, upstream, shuffle.map_err(failed)?)
        }
    })
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

fn open(paths: &[PathBuf], format: Format) -> BoxStream<'static, Result<Input>> {
    let inputs = Sources::new(paths.to_vec(), format).and_then(|sources| {
        sources.read(format).map_err(|error| {
            falco_core::Error::new(falco_core::ErrorKind::Other, "cannot start a thread")
                .with_source(&error)
        })
    });
    match inputs {
        Err(error) => stream::iter([Err(error)]).boxed(),
        Ok(inputs) => stream::unfold((inputs, 0), |(mut inputs, place)| async move {
            let input = match inputs.recv().await? {
                Given::Argument(payload) => Ok(Input::numbered(place, payload)),
                Given::Invalid(error) | Given::Broken(error) => Err(error),
            };
            Some((input, (inputs, place + 1)))
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
