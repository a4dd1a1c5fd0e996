//! Finds calls in a trace file without reading all of it each time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use falco_core::{Result, setters};
use flate2::read::MultiGzDecoder;

use super::reader::{is_compressed, segment, unreadable};
use crate::call::{Call, CallOutcome};
use crate::record::Record;
use crate::units::Micros;

/// Lines of a block, which is read as a whole or not at all.
const BLOCK: u64 = 1_000;
/// How each line of a call begins.
const CALL: &[u8] = br#"{"e":"call","#;

/// The calls that are looked for. What is `None` is not asked for.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct CallQuery {
    /// Calls of this stage.
    pub stage: Option<String>,
    /// Calls with one of these outcomes; of any if it is empty.
    pub outcomes: Vec<CallOutcome>,
    /// Calls that were sent at this time or later.
    pub from: Option<Micros>,
    /// Calls that were sent before this time.
    pub to: Option<Micros>,
    /// Calls that took at least so long from being sent.
    pub min: Option<Micros>,
    /// Calls that took less than this.
    pub max: Option<Micros>,
}

impl CallQuery {
    setters! {
        /// Asks for calls of this stage.
        with_stage(stage: Option<String>);
        /// Asks for calls with one of these outcomes; with any if there is none.
        with_outcomes(outcomes: Vec<CallOutcome>);
        /// Asks for calls that were sent at this time or later.
        with_from(from: Option<Micros>);
        /// Asks for calls that were sent before this time.
        with_to(to: Option<Micros>);
        /// Asks for calls that took at least so long from being sent.
        with_min(min: Option<Micros>);
        /// Asks for calls that took less than this.
        with_max(max: Option<Micros>);
    }

    /// Whether a call is looked for.
    pub fn takes(&self, call: &Call<'_>) -> bool {
        let (sent, took) = (call.sent_at(), call.done.since(call.sent_at()));
        self.stage.as_ref().is_none_or(|stage| *stage == call.stage)
            && (self.outcomes.is_empty() || self.outcomes.contains(&call.outcome))
            && self.from.is_none_or(|from| sent >= from)
            && self.to.is_none_or(|to| sent < to)
            && self.min.is_none_or(|min| took >= min)
            && self.max.is_none_or(|max| took < max)
    }
}

/// Finds calls in a trace file, with all its segments, plain or gzipped, also while it grows. It keeps a summary of each 1,000
/// lines, and reads only those that may hold what is looked for. What is gzipped has to be read from its beginning, which is
/// slower.
#[derive(Debug)]
pub struct CallIndex {
    path: PathBuf,
    blocks: Vec<Block>,
    stages: Vec<String>,
    /// Where the next line begins.
    end: Place,
}

/// The place of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Place {
    segment: u32,
    /// In the segment, before it is compressed.
    offset: u64,
    /// The number of the line in all segments.
    line: u64,
}

/// A summary of some lines.
#[derive(Clone, Debug)]
struct Block {
    at: Place,
    lines: u64,
    sent: Range,
    took: Range,
    /// A bit for each of the first 63 stages, and one for all others.
    stages: u64,
    /// A bit for each outcome.
    outcomes: u8,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    low: Micros,
    high: Micros,
}

impl Range {
    const EMPTY: Self = Self { low: Micros(i64::MAX), high: Micros(i64::MIN) };

    fn add(&mut self, value: Micros) {
        (self.low, self.high) = (self.low.min(value), self.high.max(value));
    }

    /// Whether it may hold a value from `low` on and below `high`.
    fn meets(&self, low: Option<Micros>, high: Option<Micros>) -> bool {
        low.is_none_or(|low| self.high >= low) && high.is_none_or(|high| self.low < high)
    }
}

impl CallIndex {
    /// Looks into the trace at `path`. Nothing is read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { path, blocks: Vec::new(), stages: Vec::new(), end: Place::default() }
    }

    /// The calls that `query` takes, at most `most`, from line `after` of the trace on, which is 0 at first; and the line to
    /// go on with, if there are more.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is no such file, and `Other` when it cannot be read.
    pub fn calls(
        &mut self,
        query: &CallQuery,
        after: u64,
        most: usize,
    ) -> Result<(Vec<Call<'static>>, Option<u64>)> {
        self.update()?;
        let (mut calls, mut next) = (Vec::new(), None);
        let mut reader = None;
        let first = self.blocks.partition_point(|block| block.at.line + block.lines <= after);
        for block in self.blocks[first..].iter().filter(|block| self.may_hold(block, query)) {
            let lines = Lines::at(&self.path, block.at, reader.take())?;
            let lines = reader.insert(lines);
            for number in block.at.line..block.at.line + block.lines {
                let Some(line) = lines.next(&self.path)? else { break };
                if number < after || !line.starts_with(CALL) {
                    continue;
                }
                let Ok(Some(Record::Call(call))) = Record::parse(line) else { continue };
                if query.takes(&call) {
                    if calls.len() == most {
                        next = Some(number);
                        break;
                    }
                    calls.push(*call);
                }
            }
            if next.is_some() {
                break;
            }
        }
        Ok((calls, next))
    }

    fn may_hold(&self, block: &Block, query: &CallQuery) -> bool {
        let has_stage = query.stage.as_ref().is_none_or(|wanted| {
            let place = self.stages.iter().position(|stage| stage == wanted);
            place.is_some_and(|place| block.stages & bit(place) != 0)
        });
        let mut outcomes = query.outcomes.iter();
        let has_outcome = query.outcomes.is_empty()
            || outcomes.any(|outcome| block.outcomes & (1 << *outcome as u8) != 0);
        has_stage
            && has_outcome
            && block.sent.meets(query.from, query.to)
            && block.took.meets(query.min, query.max)
    }

    /// Reads what was added to the trace.
    fn update(&mut self) -> Result<()> {
        loop {
            let mut lines = Lines::at(&self.path, self.end, None)?;
            while let Some(line) = lines.next(&self.path)? {
                self.add(line);
            }
            self.end.offset = lines.place.offset;
            let next = segment(&self.path, self.end.segment + 1);
            if !next.exists() {
                return Ok(());
            }
            self.end = Place { segment: self.end.segment + 1, offset: 0, ..self.end };
        }
    }

    fn add(&mut self, line: &[u8]) {
        let at = self.end;
        // A block does not reach into the next segment.
        let is_new = self
            .blocks
            .last()
            .is_none_or(|last| last.lines == BLOCK || last.at.segment != at.segment);
        if is_new {
            let (sent, took) = (Range::EMPTY, Range::EMPTY);
            self.blocks.push(Block { at, lines: 0, sent, took, stages: 0, outcomes: 0 });
        }
        self.end.line += 1;
        self.end.offset += line.len() as u64;
        let Some(block) = self.blocks.last_mut() else { return };
        block.lines += 1;
        if !line.starts_with(CALL) {
            return;
        }
        let Ok(Some(Record::Call(call))) = Record::parse(line) else { return };
        let place = self.stages.iter().position(|stage| *stage == call.stage);
        let place = place.unwrap_or_else(|| {
            self.stages.push(call.stage.to_string());
            self.stages.len() - 1
        });
        block.stages |= bit(place);
        block.outcomes |= 1 << call.outcome as u8;
        block.sent.add(call.sent_at());
        block.took.add(call.done.since(call.sent_at()));
    }
}

fn bit(stage: usize) -> u64 {
    1 << stage.min(63)
}

/// Reads whole lines of a segment.
struct Lines {
    from: Box<dyn BufRead>,
    place: Place,
    line: Vec<u8>,
    is_compressed: bool,
}

impl Lines {
    /// Begins at `place`, with the reader that was used before if that saves reading.
    fn at(path: &Path, place: Place, before: Option<Self>) -> Result<Self> {
        let name = segment(path, place.segment);
        let failed = |error: io::Error| unreadable(&name, &error);
        let mut lines = match before {
            Some(before)
                if before.place.segment == place.segment
                    && before.place.offset <= place.offset
                    && before.is_compressed =>
            {
                before
            }
            _ => {
                let mut file = File::open(&name).map_err(failed)?;
                let is_compressed = is_compressed(path);
                let (from, offset): (Box<dyn BufRead>, u64) = match is_compressed {
                    true => {
                        (Box::new(BufReader::new(MultiGzDecoder::new(BufReader::new(file)))), 0)
                    }
                    false => {
                        file.seek(SeekFrom::Start(place.offset)).map_err(failed)?;
                        (Box::new(BufReader::with_capacity(1 << 16, file)), place.offset)
                    }
                };
                Self { from, place: Place { offset, ..place }, line: Vec::new(), is_compressed }
            }
        };
        let skip = place.offset - lines.place.offset;
        // A compressed file that was cut ends with an error: there is nothing more to read then.
        let _ = io::copy(&mut (&mut lines.from).take(skip), &mut io::sink());
        lines.place = place;
        Ok(lines)
    }

    /// The next whole line, with its line break.
    fn next(&mut self, path: &Path) -> Result<Option<&[u8]>> {
        self.line.clear();
        match self.from.read_until(b'\n', &mut self.line) {
            Ok(_) if self.line.last() == Some(&b'\n') => {
                self.place.offset += self.line.len() as u64;
                Ok(Some(&self.line))
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(unreadable(&segment(path, self.place.segment), &error)),
        }
    }
}
