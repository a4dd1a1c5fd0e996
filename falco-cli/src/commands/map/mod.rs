//! `falco map`: one invocation for each input.

mod driver;
mod failures;
mod results;
mod window;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use anyhow::Context;
use clap::Args;
use falco_cli::flags::OnFailure;
use falco_cli::{Launch, RunFlags, check_outputs, conclude, exit_code, say, with_objects};
use falco_core::BoxStream;
use falco_executors::KeepResults;
use futures_util::{StreamExt, stream};

use super::READER_LEFT;
use super::function::FunctionFile;
use super::inputs::{Format, Given, Sources};
use super::objects::{ObjectFlags, Objects};
use driver::{Mapping, Sink};
use failures::Failures;
use results::{Results, Written};

/// Runs a function once for each input, and writes the results as lines of JSON
///
/// Inputs are lines of JSON objects, from files or stdin. Results come in the order of the inputs. An input that fails is a
/// line of JSON, too, with its number, on stderr or in the file of --failed, and does not end the run unless --on-failure
/// stop says so.
///
/// For example:
///
///   seq 1000 | falco map --text -f square.py
///   falco map -f count.py inputs.jsonl --failed failed.jsonl > results.jsonl
///   falco map -f clean.py --input s3://logs/2026 --split lines:64MiB --output s3://clean/2026
///
/// With --input the function runs once for each split, and reads it by args["input"].lines(). With --output it writes objects by
/// args["out"].write(..) and returns {"out": out.close()}; they are listed on stdout instead of the results, and in
/// _manifest.json, and _SUCCESS is written last.
///
/// The exit code is 0 when every input has a result, 1 when one has none, 130 after Ctrl-C, and 141 when the reader of
/// stdout has gone away.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct MapFlags {
    #[command(flatten)]
    function: FunctionFile,

    /// Files of inputs, - for stdin [default: stdin]
    inputs: Vec<PathBuf>,

    /// Make {"line": ..} of each line.
    #[arg(long, group = "format")]
    text: bool,

    /// Make an object of each row of CSV, with the names in the first row.
    #[arg(long, group = "format")]
    csv: bool,

    /// Make {"path": .., "text": ..} of each file that INPUTS name, with "base64" where it is not text; of stdin, of each file
    /// that a line names.
    #[arg(long, group = "format")]
    files: bool,

    /// Write results as they come, instead of in the order of the inputs.
    #[arg(long)]
    unordered: bool,

    /// Write the inputs that have no result to FILE, as lines of JSON with input, kind, message, trace and argument; - for
    /// stderr [default: stderr]
    #[arg(long, value_name = "FILE")]
    failed: Option<PathBuf>,

    /// Say that running the function twice for one input does no harm: what was lost is sent again.
    #[arg(long, help_heading = "Execution")]
    idempotent: bool,

    /// Say that results follow from the code and the input alone: --reuse takes them from another run. It implies --idempotent.
    #[arg(long, help_heading = "Execution")]
    pure: bool,

    #[command(flatten)]
    objects: ObjectFlags,

    #[command(flatten)]
    flags: RunFlags,
}

impl MapFlags {
    fn format(&self) -> Format {
        match self {
            Self { text: true, .. } => Format::Text,
            Self { csv: true, .. } => Format::Csv,
            Self { files: true, .. } => Format::Files,
            _ => Format::Json,
        }
    }
}

/// Runs the function over all inputs, and returns what the shell sees.
pub(crate) async fn map(flags: MapFlags) -> ExitCode {
    match run(flags).await {
        Ok((_, Written::ReaderLeft)) => ExitCode::from(READER_LEFT),
        Ok((_, Written::Failed(error))) => {
            exit_code(Err(anyhow::anyhow!("cannot write to stdout: {error}")))
        }
        Ok((succeeded, Written::All)) => exit_code(Ok(succeeded)),
        Err(error) => exit_code(Err(error)),
    }
}

async fn run(mut flags: MapFlags) -> anyhow::Result<(bool, Written)> {
    let on_failure = *flags.flags.execution.on_failure.get_or_insert(OnFailure::Continue);
    let format = flags.format();
    let function = flags.function.load(&flags.flags.function)?;
    let objects = flags.objects.open(&flags.flags.journal)?;
    let outputs = objects.iter().flat_map(|objects| &objects.output);
    check_outputs(&flags.flags.journal, outputs).await?;
    let inputs = inputs(std::mem::take(&mut flags.inputs), format, objects.as_ref())?;
    let failures = flags.failed.as_deref().map(Failures::into_file).transpose()?;
    let launch = Launch::connect_with(&flags.flags, |platform| match &objects {
        Some(objects) => {
            let (input, output) = (objects.input.clone(), objects.output.clone());
            with_objects(platform, &objects.scratch, input, output)
        }
        None => Ok(platform),
    });
    let launch = launch.await?.with_kept_results(KeepResults::Nothing);

    let window = Arc::default();
    let out = objects.as_ref().and_then(Objects::sink);
    let results = match out.is_some() || flags.flags.output.results_to_stdout() {
        // The objects that were written, or the lines of all outcomes go there.
        true => Results::new(io::sink(), false, Arc::clone(&window)),
        false => Results::new(io::stdout(), !flags.unordered, Arc::clone(&window)),
    };
    let no_thread = "cannot start a thread";
    let sink = Arc::new(Sink {
        window,
        results: Mutex::new(results.context(no_thread)?),
        failures: failures.unwrap_or_default(),
        show: launch.shower(),
        invalid: 0.into(),
        written: out.is_some().then(Mutex::default),
    });
    let mapping = Mapping {
        function,
        idempotent: flags.idempotent,
        pure: flags.pure,
        stops_on_failure: on_failure == OnFailure::Stop,
        count: inputs.count,
        inputs: Mutex::new(Some(inputs.all)),
        out,
        sink: sink.clone(),
    };
    let outcome = launch.run(&mapping).await?;
    let written = sink.finish();
    if let Some(error) = sink.failures.error() {
        say(error);
    }
    if written == Written::ReaderLeft {
        // The shell says what there is to say, as of any program in a pipe.
        return Ok((false, written));
    }
    let went = if sink.written.is_some() { "are not committed" } else { "went to stdout" };
    let succeeded = conclude(&flags.flags.output, &outcome.report, &outcome.leftovers, went);
    let succeeded = succeeded && sink.invalid.load(Relaxed) == 0;
    if let Some(objects) = &objects {
        let manifest = objects.finish(&outcome, succeeded, &sink.written()).await?;
        for object in manifest.iter().flat_map(|manifest| &manifest.objects) {
            let line = serde_json::to_string(object)?;
            if let Err(error) = writeln!(io::stdout(), "{line}") {
                let left = error.kind() == io::ErrorKind::BrokenPipe;
                let written =
                    if left { Written::ReaderLeft } else { Written::Failed(error.to_string()) };
                return Ok((succeeded, written));
            }
        }
    }
    Ok((succeeded, written))
}

/// The inputs of a run.
struct Inputs {
    all: BoxStream<'static, Given>,
    /// How many there are, where that is known.
    count: Option<usize>,
}

fn inputs(
    paths: Vec<PathBuf>,
    format: Format,
    objects: Option<&Objects>,
) -> anyhow::Result<Inputs> {
    if let Some(splits) = objects.and_then(Objects::splits) {
        let given = splits.inputs().map(|split| match split {
            Ok(input) => Given::Argument(input.payload),
            Err(error) => Given::Broken(error),
        });
        return Ok(Inputs { all: given.boxed(), count: None });
    }
    let sources = Sources::new(paths, format)?;
    let count = sources.count(format);
    let lines = sources.read(format).context("cannot start a thread")?;
    let all = stream::unfold(lines, |mut lines| async move { Some((lines.recv().await?, lines)) });
    Ok(Inputs { all: all.boxed(), count })
}
