//! Finds clusters of points by rounds that end when nothing moves any more: a loop whose plan depends on its results.
//!
//! The function is deployed once. The points are stored with it, so that a round sends the centroids only.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use falco_cli::flags::count;
use falco_cli::{Launch, RunFlags, exit_code, finish};
use falco_core::{Deployable, Payload, Result};
use falco_executors::report::StageReport;
use falco_executors::session::{Session, StageSpec};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Finds clusters of points.
#[derive(Debug, Parser)]
#[command(name = env!("CARGO_BIN_NAME"), args_override_self = true)]
struct Arguments {
    /// A file with a point on each line: numbers with commas between them [default: the points that travel with the example]
    points: Option<PathBuf>,

    /// How many clusters.
    #[arg(long, value_name = "K", default_value = "3", value_parser = count::<NonZeroUsize>, allow_negative_numbers = true)]
    clusters: NonZeroUsize,

    /// In how many parts the points are divided, each an invocation in each round.
    #[arg(long, value_name = "N", default_value = "8", value_parser = count::<NonZeroUsize>, allow_negative_numbers = true)]
    parts: NonZeroUsize,

    /// The most rounds.
    #[arg(long, value_name = "N", default_value = "100", value_parser = count::<NonZeroUsize>, allow_negative_numbers = true)]
    rounds: NonZeroUsize,

    /// Rounds end when no centroid has moved farther than this.
    #[arg(long, value_name = "DISTANCE", default_value_t = 1e-6)]
    tolerance: f64,

    #[command(flatten)]
    flags: RunFlags,
}

type Point = Vec<f64>;

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(cluster(Arguments::parse()).await)
}

async fn cluster(arguments: Arguments) -> anyhow::Result<bool> {
    let Arguments { points, clusters, parts, rounds, tolerance, flags } = arguments;
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("data/points.csv");
    let points = read(&points.unwrap_or_else(own))?;
    let centroids = farthest(&points, clusters.get())?;
    let source = include_str!("../../functions/kmeans.py");
    let function = flags.function.deployable("kmeans", "python:3", source)?;
    let function = function.with_arguments(Payload::json(&json!({ "points": points }))?);
    let launch = Launch::connect(&flags).await?;
    let function = launch.with_packages(function).await?;
    let mut search = Search {
        session: Session::start(launch.options())?,
        parts: parts.get().min(points.len()),
        rounds: rounds.get(),
        tolerance,
        reports: Vec::new(),
    };
    let found = search.run(&function, centroids).await;
    // Whatever came of it, nothing stays behind, unless it is to be kept.
    let leftovers = search.session.end(&mut search.reports).await;
    launch.conclude(&search.session).await?;
    let report = search.session.report(search.reports);
    let found = match found {
        // What failed a round stands in the report.
        Err(error) if report.error.is_none() => return Err(error.into()),
        found => found,
    };
    finish(&flags.output, &report, &leftovers, || found)
}

/// Reads points, which all have as many numbers.
fn read(path: &Path) -> anyhow::Result<Vec<Point>> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let mut points: Vec<Point> = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let numbers = line.split(',').map(|number| number.trim().parse::<f64>());
        let point: std::result::Result<Point, _> = numbers.collect();
        match point {
            Ok(point) if point.iter().all(|number| number.is_finite()) => points.push(point),
            _ => bail!("line {} of {shown} is not a list of numbers: {line:?}", number + 1),
        }
        let first = points[0].len();
        ensure!(
            points.last().is_some_and(|point| point.len() == first),
            "line {} of {shown} has another number of values than the first point, which has {first}",
            number + 1
        );
    }
    ensure!(!points.is_empty(), "{shown} has no points");
    Ok(points)
}

/// Where to begin: the first point, and then each time the point that is farthest from those that are taken.
fn farthest(points: &[Point], clusters: usize) -> anyhow::Result<Vec<Point>> {
    let mut centroids = vec![points[0].clone()];
    while centroids.len() < clusters {
        let nearest = |point: &Point| {
            centroids.iter().map(|centroid| distance(point, centroid)).fold(f64::INFINITY, f64::min)
        };
        let next = points.iter().max_by(|one, other| nearest(one).total_cmp(&nearest(other)));
        match next {
            Some(point) if nearest(point) > 0.0 => centroids.push(point.clone()),
            _ => bail!("{clusters} clusters of {} different points: use fewer", centroids.len()),
        }
    }
    Ok(centroids)
}

fn distance(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt()
}

/// The answer of one invocation: the sums of its points by their nearest centroid.
#[derive(Deserialize)]
struct Part {
    sums: Vec<Point>,
    counts: Vec<u64>,
    cost: f64,
}

/// The driver: its loop.
struct Search {
    session: Session,
    parts: usize,
    rounds: usize,
    tolerance: f64,
    reports: Vec<StageReport>,
}

impl Search {
    async fn run(&mut self, function: &Deployable, mut centroids: Vec<Point>) -> Result<Clusters> {
        let deployment = self.session.deploy(function).await?;
        loop {
            let payload = |part| {
                let parts = self.parts;
                Payload::json(&json!({ "part": part, "parts": parts, "centroids": centroids }))
            };
            let payloads = (0..self.parts).map(payload).collect::<Result<Vec<_>>>()?;
            let stage = StageSpec::new(format!("round-{}", self.reports.len() + 1)).idempotent();
            let round = self.session.round(stage, &deployment, payloads).await;
            self.reports.push(round.report.clone());
            let parts: Vec<Part> = round.results_as()?;
            let (next, found) = Clusters::of(&parts, &centroids, self.reports.len());
            let moved = centroids.iter().zip(&next).map(|(from, to)| distance(from, to));
            let farthest = moved.fold(0.0, f64::max);
            centroids = next;
            if farthest <= self.tolerance || self.reports.len() == self.rounds {
                return Ok(found);
            }
        }
    }
}

#[derive(Serialize)]
struct Clusters {
    clusters: Vec<Cluster>,
    /// The sum of the squares of all distances.
    cost: f64,
    rounds: usize,
}

#[derive(Serialize)]
struct Cluster {
    centroid: Point,
    points: u64,
}

impl Clusters {
    /// The centroids of the next round, and what this one has found. A cluster without points stays where it is.
    fn of(parts: &[Part], centroids: &[Point], rounds: usize) -> (Vec<Point>, Self) {
        let cluster = |(at, centroid): (usize, &Point)| {
            let points = parts.iter().map(|part| part.counts[at]).sum::<u64>();
            let mean = |axis: usize| {
                parts.iter().map(|part| part.sums[at][axis]).sum::<f64>() / points as f64
            };
            let centroid = match points {
                0 => centroid.clone(),
                _ => (0..centroid.len()).map(mean).collect(),
            };
            Cluster { centroid, points }
        };
        let clusters: Vec<_> = centroids.iter().enumerate().map(cluster).collect();
        let next = clusters.iter().map(|cluster| cluster.centroid.clone()).collect();
        let cost = parts.iter().map(|part| part.cost).sum();
        (next, Self { clusters, cost, rounds })
    }
}

impl fmt::Display for Clusters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Cluster { centroid, points } in &self.clusters {
            let numbers: Vec<_> = centroid.iter().map(|number| format!("{number:.3}")).collect();
            writeln!(f, "{} {points}", numbers.join(","))?;
        }
        Ok(())
    }
}
