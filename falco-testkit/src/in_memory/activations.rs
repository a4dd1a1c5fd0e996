//! Submitted activations: no task runs for them, their ends are computed from the clock.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use falco_core::{ActivationId, Error, LogLine, Payload, Pending};
use tokio::time::Instant;

use super::deployed::Deployed;
use super::run::Run;

const ID_PREFIX: &str = "m-";

/// The id of the activation with this number.
pub(super) fn id(number: u64) -> ActivationId {
    // One allocation instead of the two of `format!`: this is on the path of the benchmarks.
    let mut text = [0_u8; 22];
    let mut start = text.len();
    let mut rest = number;
    loop {
        start -= 1;
        text[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    start -= ID_PREFIX.len();
    text[start..start + ID_PREFIX.len()].copy_from_slice(ID_PREFIX.as_bytes());
    ActivationId::new(std::str::from_utf8(&text[start..]).unwrap_or_default())
}

fn number(id: &ActivationId) -> Option<u64> {
    id.as_str().strip_prefix(ID_PREFIX)?.parse().ok()
}

/// How a submitted activation will show in `collect`.
#[derive(Clone, Debug)]
pub(super) enum Record {
    Finished,
    Gone(Error),
    Never,
    /// It runs, and its id has reached nobody.
    Unknown,
}

#[derive(Clone, Debug)]
struct Submitted {
    deployed: Arc<Deployed>,
    run: Run,
    record: Record,
    visible_at: Instant,
    running: bool,
}

impl Submitted {
    fn is_of(&self, function: &str) -> bool {
        self.deployed.deployment.name == function
    }
}

/// The lines of an activation, and when they can be read.
#[derive(Debug)]
struct Log {
    deployed: Arc<Deployed>,
    visible_at: Instant,
    lines: Vec<LogLine>,
}

/// The outcome of a question about one activation.
pub(super) enum Found {
    Finished(Run, Arc<Deployed>),
    Gone(Error),
    Later(Instant),
    Nothing,
}

#[derive(Debug, Default)]
pub(super) struct Activations {
    submitted: HashMap<u64, Submitted>,
    /// The ends of those that run. An abandoned one stays here until its time, and is then ignored.
    ends: BinaryHeap<Reverse<(Instant, u64)>>,
    logs: HashMap<u64, Log>,
    unknown: u64,
    /// Those whose ids have reached nobody, with what they were sent.
    unlearned: Vec<(u64, Payload, Submitted)>,
    /// Attempts that the platform knows by their names.
    named: HashMap<String, Pending>,
}

impl Activations {
    pub(super) fn insert(
        &mut self,
        number: u64,
        deployed: Arc<Deployed>,
        run: Run,
        record: Record,
        record_delay: Duration,
    ) {
        let ends_at = run.ends_at();
        self.unknown += u64::from(matches!(record, Record::Unknown));
        self.ends.push(Reverse((ends_at, number)));
        let visible_at = ends_at + record_delay;
        let running = true;
        self.submitted.insert(number, Submitted { deployed, run, record, visible_at, running });
    }

    /// Remembers what an activation was sent whose id has reached nobody.
    pub(super) fn forget_id(&mut self, number: u64, payload: Payload) {
        if let Some(submitted) = self.submitted.get(&number) {
            self.unlearned.push((number, payload, submitted.clone()));
        }
    }

    /// Finds an activation of `function` that was sent `payload` and whose id has reached nobody; it can be collected then.
    pub(super) fn learn_id(&mut self, function: &str, payload: &Payload) -> Option<ActivationId> {
        let at = self
            .unlearned
            .iter()
            .position(|(_, sent, submitted)| sent == payload && submitted.is_of(function))?;
        let (number, _, mut submitted) = self.unlearned.swap_remove(at);
        // It runs as long as it has not been taken out.
        submitted.running = self.submitted.remove(&number).is_some();
        self.unknown -= u64::from(submitted.running);
        submitted.record = Record::Finished;
        self.submitted.insert(number, submitted);
        Some(id(number))
    }

    /// The handle of an attempt that the platform knows by this name.
    pub(super) fn named(&self, name: &str) -> Option<Pending> {
        self.named.get(name).cloned()
    }

    pub(super) fn name(&mut self, name: String, pending: Pending) {
        self.named.insert(name, pending);
    }

    /// Ends those whose time is over; how many that were.
    pub(super) fn end_until(&mut self, now: Instant) -> u64 {
        let mut ended = 0;
        while let Some(Reverse((ends_at, number))) = self.ends.peek().copied() {
            if ends_at > now {
                break;
            }
            self.ends.pop();
            let Some(submitted) = self.submitted.get_mut(&number) else { continue };
            submitted.running = false;
            submitted.deployed.instances.give_back();
            ended += 1;
            if matches!(submitted.record, Record::Unknown) {
                self.unknown -= 1;
                self.submitted.remove(&number);
            }
        }
        ended
    }

    pub(super) fn find(&self, id: &ActivationId, function: &str, now: Instant) -> Found {
        let submitted = number(id).and_then(|number| self.submitted.get(&number));
        let Some(submitted) = submitted.filter(|it| it.is_of(function)) else {
            return Found::Nothing;
        };
        match &submitted.record {
            Record::Never | Record::Unknown => Found::Nothing,
            _ if submitted.visible_at > now => Found::Later(submitted.visible_at),
            Record::Gone(error) => Found::Gone(error.clone()),
            Record::Finished => {
                Found::Finished(submitted.run.clone(), Arc::clone(&submitted.deployed))
            }
        }
    }

    /// Forgets an activation of `function`: whether it was known, and whether it still ran.
    pub(super) fn release(&mut self, id: &ActivationId, function: &str) -> (bool, bool) {
        let Some(Entry::Occupied(entry)) = number(id).map(|number| self.submitted.entry(number))
        else {
            return (false, false);
        };
        if !entry.get().is_of(function) {
            return (false, false);
        }
        let submitted = entry.remove();
        if submitted.running {
            submitted.deployed.instances.give_back();
        }
        (true, submitted.running)
    }

    pub(super) fn unreleased(&self) -> u64 {
        self.submitted.len() as u64 - self.unknown
    }

    pub(super) fn keep_log(
        &mut self,
        number: u64,
        deployed: Arc<Deployed>,
        visible_at: Instant,
        lines: Vec<LogLine>,
    ) {
        self.logs.insert(number, Log { deployed, visible_at, lines });
    }

    pub(super) fn log(
        &self,
        id: &ActivationId,
        function: &str,
        now: Instant,
    ) -> Option<Vec<LogLine>> {
        let log = self.logs.get(&number(id)?)?;
        let is_there = log.visible_at <= now && log.deployed.deployment.name == function;
        is_there.then(|| log.lines.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_holds_its_number() {
        for n in [0, 7, 10, 1_234_567, u64::MAX] {
            assert_eq!(number(&id(n)), Some(n));
            assert_eq!(id(n), format!("m-{n}").as_str());
        }
        assert_eq!(number(&"else".into()), None);
    }
}
