//! Reads a journal from its beginning, and keeps what a resume has to know.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use falco_core::{Deployment, Error, ErrorKind, Result, StageName};

use crate::config::RunCommand;
use crate::head::{head, kind_of};
use crate::index::{Entry, Index, Position, key};
use crate::record::{
    Abandoned, Completed, Deployed, Finished, Header, Plan, PlannedStage, Removed, SentAgain,
    StageBegun, StageEnded, Verdict, kind,
};
use crate::segment::{self, Claims, Damage, parse};

/// The content of a run's log.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pub(crate) run: String,
    pub(crate) name: String,
    /// When it was begun and when its last process started, in microseconds since the Unix epoch.
    pub(crate) begun_at: u64,
    pub(crate) resumed_at: u64,
    /// The segments with their valid bytes.
    pub(crate) segments: Vec<Segment>,
    /// How its last process was started, of those that say so.
    pub(crate) command: Option<RunCommand>,
    /// The machine of its last process.
    pub(crate) host: String,
    /// How many processes have worked on it.
    pub(crate) processes: u32,
    pub(crate) plan: Option<Plan>,
    /// Numbers of stages by name.
    pub(crate) stages: BTreeMap<StageName, u32>,
    /// The deployment of each stage, by the stage's number.
    pub(crate) deployment_of: HashMap<u32, String>,
    /// The functions that were deployed and not removed.
    pub(crate) deployed: BTreeMap<String, Deployed>,
    /// The last deployment under each name, removed or not.
    pub(crate) last_deployed: HashMap<String, Deployment>,
    /// Where the last removal of a deployment is.
    pub(crate) removed: HashMap<String, Position>,
    /// Stages that have ended, with their errors.
    pub(crate) ended: BTreeMap<u32, Option<String>>,
    pub(crate) index: Index,
    /// The cost of all processes, in US dollars.
    pub(crate) cost: Option<f64>,
    pub(crate) sent_again: Vec<SentAgain>,
    pub(crate) finished: Option<Finished>,
    pub(crate) abandoned: Option<Abandoned>,
    /// Damaged ranges that were given up: what they may have said is unknown.
    pub(crate) lost: Vec<(u32, u64, u64)>,
    /// Bytes of all segments.
    pub(crate) bytes: u64,
}

/// A segment that was read.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) number: u32,
    pub(crate) path: PathBuf,
    pub(crate) length: u64,
    /// The times in its records count from here, in microseconds since the Unix epoch.
    pub(crate) base: u64,
}

/// The part of the invocations' records that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Where they are.
    Places,
    /// That, the costs, and the reasons for sending again.
    Everything,
}

/// Reads the journal in `directory`.
///
/// # Errors
///
/// `Unsupported` for a format or a record that this version does not know, `Other` for damage and for what cannot be
/// read.
pub(crate) fn replay(directory: &Path, keep: Keep) -> Result<Replay> {
    match examine(directory, keep, &[])? {
        (_, Some(damage)) => Err(damage.error()),
        (replay, None) => Ok(replay),
    }
}

/// Reads the journal in `directory` up to the first damage, other than in the ranges of `given_up`.
pub(crate) fn examine(
    directory: &Path,
    keep: Keep,
    given_up: &[(u32, u64, u64)],
) -> Result<(Replay, Option<Damage>)> {
    let mut headers: Vec<(u32, PathBuf, Option<Header>)> = Vec::new();
    for (number, path) in segment::list(directory)? {
        let header = segment::header(&path)?;
        headers.push((number, path, header));
    }
    let mut claims: BTreeMap<u32, Claims> = BTreeMap::new();
    let newest = headers.iter().rev().find_map(|(_, _, header)| header.as_ref());
    let after = newest.map_or(&[][..], |header| &header.after);
    for (number, length) in after {
        claims.entry(*number).or_default().length = Some(*length);
        if headers.iter().all(|(there, ..)| there != number) {
            let path = directory.join(segment::name(*number));
            let message = format!("the segment {} is missing", path.display());
            return Err(Error::new(ErrorKind::Other, message));
        }
    }
    let lost = newest.map_or(&[][..], |header| &header.lost);
    for (number, from, to) in lost.iter().chain(given_up) {
        claims.entry(*number).or_default().lost.push((*from, *to));
    }
    let mut replay =
        Replay { lost: lost.iter().chain(given_up).copied().collect(), ..Replay::default() };
    // Of a segment whose header was lost, the base is that of one beside it: near enough to wait for what it names.
    let mut base =
        headers.iter().find_map(|(_, _, header)| Some(header.as_ref()?.base)).unwrap_or(0);
    for (number, path, header) in headers {
        base = header.as_ref().map_or(base, |header| header.base);
        let mut claims = claims.remove(&number).unwrap_or_default();
        claims.lost.sort_unstable();
        let length =
            std::fs::metadata(&path).map_err(|error| segment::unreadable(&path, &error))?;
        replay.bytes += length.len();
        match header {
            Some(header) => replay.begin(number, header),
            // A process died before its first line was whole.
            None if claims.length.is_none_or(|length| length == 0) && !claims_anything(&path)? => {
                replay.segments.push(Segment { number, path, length: 0, base });
                continue;
            }
            None if claims.lost.first().is_some_and(|(from, _)| *from == 0) => {}
            None => {
                let line = first_line(&path)?;
                return Ok((replay, Some(Damage { path, number, from: 0, to: line })));
            }
        }
        let place = replay.segments.len() as u16;
        let read = segment::read(number, &path, &claims, |at, json| {
            replay.record(&path, Position { segment: place, byte: at as u32 }, json, keep)
        })?;
        let length = match read {
            Ok(length) => length,
            Err(damage) => return Ok((replay, Some(damage))),
        };
        replay.segments.push(Segment { number, path, length, base });
    }
    replay.index.settle();
    Ok((replay, None))
}

/// Whether a segment without a header holds a record that was synced.
fn claims_anything(path: &Path) -> Result<bool> {
    let read = segment::read(0, path, &Claims::default(), |_, _| Ok(()))?;
    Ok(read.is_err())
}

fn first_line(path: &Path) -> Result<u64> {
    let bytes = std::fs::read(path).map_err(|error| segment::unreadable(path, &error))?;
    Ok(memchr::memchr(b'\n', &bytes).map_or(bytes.len(), |end| end + 1) as u64)
}

impl Replay {
    fn begin(&mut self, number: u32, header: Header) {
        if self.begun_at == 0 {
            self.begun_at = header.at;
            self.run.clone_from(&header.run);
        }
        if header.epoch == number {
            self.processes += 1;
            self.resumed_at = header.at;
            (self.finished, self.abandoned) = (None, None);
        }
        self.host = header.host;
        if header.command.is_some() {
            self.command = header.command;
        }
        if !header.name.is_empty() {
            self.name = header.name;
        }
    }

    fn record(&mut self, path: &Path, at: Position, json: &[u8], keep: Keep) -> Result<()> {
        let byte = u64::from(at.byte);
        let unknown = || {
            let message = format!(
                "the record at byte {byte} of {} is of a kind that is not known",
                path.display()
            );
            Error::unsupported(message).with_hint("a later version of Falco has written it")
        };
        match kind_of(json).ok_or_else(unknown)? {
            kind::HEADER | kind::SYNCED => {}
            kind::PLAN => {
                let plan: Plan = parse(path, byte, json)?;
                for stage in &plan.stages {
                    self.stages.insert(stage.name.clone(), stage.s);
                }
                self.plan = Some(plan);
            }
            kind::STAGE => {
                let begun: StageBegun = parse(path, byte, json)?;
                self.ended.remove(&begun.s);
                self.stages.insert(begun.name, begun.s);
                self.deployment_of.insert(begun.s, begun.deployment);
            }
            kind::DEPLOYED => {
                let deployed: Deployed = parse(path, byte, json)?;
                let name = deployed.deployment.name.clone();
                self.last_deployed.insert(name.clone(), deployed.deployment.clone());
                self.deployed.insert(name, deployed);
            }
            kind::REMOVED => {
                let Removed { name } = parse(path, byte, json)?;
                self.deployed.remove(&name);
                self.removed.insert(name, at);
            }
            kind::INTENT => self.entry(path, at, json, |_| Entry::Intent)?,
            kind::NOT_RUN => self.entry(path, at, json, |_| Entry::NotRun)?,
            kind::SUBMITTED => self.entry(path, at, json, |_| Entry::Submitted)?,
            kind::COMPLETED => {
                self.entry(path, at, json, Entry::Completed)?;
                if keep == Keep::Everything {
                    self.add_cost(&parse(path, byte, json)?);
                }
            }
            kind::STAGE_ENDED => {
                let StageEnded { s, e } = parse(path, byte, json)?;
                self.ended.insert(s, e);
            }
            kind::SENT_AGAIN if keep == Keep::Everything => {
                self.sent_again.push(parse(path, byte, json)?);
            }
            kind::SENT_AGAIN => {}
            kind::ABANDONED => self.abandoned = Some(parse(path, byte, json)?),
            kind::FINISHED => self.finished = Some(parse(path, byte, json)?),
            _ => return Err(unknown()),
        }
        Ok(())
    }

    fn entry(
        &mut self,
        path: &Path,
        at: Position,
        json: &[u8],
        entry: impl FnOnce(Verdict) -> Entry,
    ) -> Result<()> {
        let head = head(json).ok_or_else(|| {
            let message =
                format!("the record at byte {} of {} is not understood", at.byte, path.display());
            Error::unsupported(message)
        })?;
        self.index.add(key(head.stage, &head.id), at, entry(head.verdict));
        Ok(())
    }

    fn add_cost(&mut self, completed: &Completed<'_>) {
        // Where another attempt followed, its completion counts this one.
        if completed.g {
            return;
        }
        for cost in [completed.activation_cost(), completed.d].into_iter().flatten() {
            *self.cost.get_or_insert_default() += cost.0;
        }
    }

    /// Whether all stages whose function is this deployment have ended without an error, so that it may never be called
    /// again.
    pub(crate) fn has_ended(&self, deployment: &str) -> bool {
        let stages = || self.plan.iter().flat_map(|plan| &plan.stages);
        let runs_on_it = |stage: &PlannedStage| {
            self.deployment_of.get(&stage.s).is_some_and(|on| on == deployment)
        };
        let functions: HashSet<&str> =
            stages().filter(|it| runs_on_it(it)).map(|it| it.function.name.as_str()).collect();
        let mut all = stages().filter(|it| functions.contains(it.function.name.as_str()));
        !functions.is_empty()
            && all.all(|it| runs_on_it(it) && self.ended.get(&it.s).is_some_and(Option::is_none))
    }

    /// The next number of a stage.
    pub(crate) fn next_stage(&self) -> u32 {
        self.stages.values().max().map_or(0, |last| last + 1)
    }

    /// How many bytes of each segment are valid, for the header of the next one.
    pub(crate) fn lengths(&self) -> Vec<(u32, u64)> {
        self.segments.iter().map(|segment| (segment.number, segment.length)).collect()
    }
}
