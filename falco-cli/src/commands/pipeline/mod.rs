//! `falco run`: a plan of stages in a file, without Rust.

mod derive;
mod driver;
mod file;
mod outputs;
mod target;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use falco_cli::{Launch, RunFlags, check_outputs, conclude, exit_code, with_objects};
use falco_executors::KeepResults;

use super::READER_LEFT;
use driver::Pipeline;

/// Runs the stages that a TOML file describes
///
/// For example, words.toml:
///
///   name = "words"
///
///   [[stage]]
///   name = "map"
///   function = "map.py"
///   inputs = "texts/*.txt"
///   format = "files"
///   idempotent = true
///
///   [[stage]]
///   name = "reduce"
///   function = "reduce.py"
///   after = "map"
///   derivation = { shuffle = "counts", partitions = 16 }
///   output = "counts.jsonl"
///
///   falco run words.toml
///
/// A stage with pure = true has results that follow from its code and its arguments alone: --reuse RUN takes them from another run.
///
/// The results of stages that no other follows go to their output, else to stdout, as lines of JSON, each as soon as it is
/// known. A file is emptied when the first stage starts, so that a plan that cannot run leaves yesterday's results as they are.
///
/// Inputs may be objects: inputs = "s3://bucket/texts" with split = "lines:64MiB" runs the function once for each split, which it
/// reads by args["input"]. An output that is a URL takes what functions write by args["out"]. Between such stages derivation = {
/// exchange = "out", partitions = 16 } shuffles what functions emit through a store: scratch = "URL" before the first stage, or
/// _scratch below the first output. With fan-in = 32 in that table the outputs of 32 mappers at a time are merged first,
/// which takes fewer requests; max-partition = "1GiB" fails the stage if a partition is larger.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct PipelineFlags {
    /// The file. Files that it names are beside it.
    file: PathBuf,

    #[command(flatten)]
    flags: RunFlags,
}

/// Runs the pipeline, and returns what the shell sees.
pub(crate) async fn run(flags: PipelineFlags) -> ExitCode {
    match execute(flags).await {
        Ok(None) => ExitCode::from(READER_LEFT),
        Ok(Some(succeeded)) => exit_code(Ok(succeeded)),
        Err(error) => exit_code(Err(error)),
    }
}

/// Runs the pipeline, and returns whether everything succeeded; nothing if the reader of stdout has gone away.
async fn execute(mut flags: PipelineFlags) -> anyhow::Result<Option<bool>> {
    let described = file::read(&flags.file)?;
    let packages = std::mem::take(&mut flags.flags.function.packages);
    let mut pipeline = Pipeline::new(&described, &flags.flags.function)?;
    let outputs = pipeline.objects().into_iter().flat_map(|stores| stores.outputs.values());
    check_outputs(&flags.flags.journal, outputs).await?;
    let launch = Launch::connect_with(&flags.flags, |platform| match pipeline.objects() {
        Some(stores) => {
            let (inputs, outputs) = (stores.inputs.iter(), stores.outputs.values());
            with_objects(platform, &stores.scratch, inputs.cloned(), outputs.cloned())
        }
        None => Ok(platform),
    });
    let launch = launch.await?.with_kept_results(KeepResults::Nothing);
    pipeline.add_packages(&described, &packages, &launch).await?;
    let outcome = launch.run(&pipeline).await?;
    let committed = pipeline.commit(&outcome).await;
    let went = pipeline.finish()?;
    committed?;
    // The shell says what there is to say of a reader that has gone away, as of any program in a pipe.
    let Some(went) = went else { return Ok(None) };
    Ok(Some(conclude(&flags.flags.output, &outcome.report, &outcome.leftovers, &went)))
}
