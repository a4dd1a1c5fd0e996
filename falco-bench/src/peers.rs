//! Falco beside what people would use instead: the same functions on the same inputs, each contender in processes of its own.

mod contender;
mod data;
mod environment;
mod falco;
mod processes;
mod report;
mod work;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

use self::contender::Contender;
use self::environment::Environment;
pub(crate) use self::falco::serve_if_contender;
use self::report::{Cell, Report};
use self::work::{Sizes, Work};
use crate::figure::Figure;

/// Falco comes first, with each input in a call of its own and then in batches, and the standard library behind it; the others by
/// their names in `peer.py`.
const CONTENDERS: [&str; 8] =
    [FALCO, FALCO_IN_BATCHES, STANDARD, "loky", "joblib", "dask", "ray", "lithops"];

const FALCO: &str = "falco";
const FALCO_IN_BATCHES: &str = "falco-batches";
const STANDARD: &str = "futures";

/// Lithops starts an interpreter for each call: some calls a second.
const SLOW: &str = "lithops";

/// So many times everybody does each piece of work, and then only those that may still become the quickest.
const LEAST_ROUNDS: usize = 2;

/// No round begins that would, as long as the one before it, end later than this after the start.
const LONGEST: Duration = Duration::from_secs(28 * 60);

/// Measures all contenders in turns, prints the table, and leaves it as Markdown and JSON.
pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let begun = Instant::now();
    let sizes = if std::env::var_os(crate::QUICK).is_some() { Sizes::QUICK } else { Sizes::FULL };
    let folder = folder()?;
    // What an earlier run left that was killed.
    processes::end_all(&folder);
    let environment = Environment::install(&folder)?;
    let works = work::all(&sizes, &folder)?;
    let mut report = Report::new(&sizes, &environment, &CONTENDERS, &works);
    let mut last = Duration::ZERO;
    for round in 0..sizes.rounds {
        if begun.elapsed() + last > LONGEST {
            eprintln!("  {round} rounds of {}: another one would take too long", sizes.rounds);
            break;
        }
        let round_began = Instant::now();
        for work in &works {
            for name in CONTENDERS {
                let is_enough = round >= rounds(work, name, &sizes)
                    || round >= LEAST_ROUNDS && report.is_far_behind(work.name, name);
                if is_enough || report.has_failed(work.name, name) {
                    continue;
                }
                eprintln!("  round {} of {}: {}: {name} ..", round + 1, sizes.rounds, work.name);
                report.add(work.name, name, measure(&folder, &environment, work, name, &sizes));
            }
        }
        last = round_began.elapsed();
    }
    processes::end_all(&folder);
    report.write(&folder)?;
    println!("{}", report.markdown());
    report.figures()
}

/// How many times a contender does a piece of work.
fn rounds(work: &Work, name: &str, sizes: &Sizes) -> usize {
    if work.is_once || name == SLOW { 1 } else { sizes.rounds }
}

fn folder() -> anyhow::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench/peers");
    std::fs::create_dir_all(&folder)?;
    Ok(folder.canonicalize()?)
}

/// One contender doing one piece of work, and whether its answer is right.
fn measure(
    folder: &Path,
    environment: &Environment,
    work: &Work,
    name: &str,
    sizes: &Sizes,
) -> Cell {
    let result = environment.lacks(name).map_or_else(
        || {
            let share = if name == SLOW { work.share } else { 1 };
            let scratch = tempfile::Builder::new().prefix("fb-").tempdir()?;
            let task = work.task(name, share, scratch.path());
            let command = match name {
                FALCO | FALCO_IN_BATCHES => falco::command(name, &environment.path()?)?,
                _ => environment.command(folder, scratch.path())?,
            };
            let limit = Duration::from_secs(sizes.limit);
            let contender = Contender::start(command, folder, scratch.path(), limit)?;
            let mut measured = contender.measure(&task)?;
            work.check(&measured.answer, share).context("the answer is wrong")?;
            measured.seconds *= share as f64;
            Ok((measured, share))
        },
        |reason| Err(anyhow::anyhow!("not installed: {reason}")),
    );
    match result {
        Ok((measured, share)) => Cell::measured(measured, share),
        Err(error) => Cell::failed(format!("{error:#}")),
    }
}
