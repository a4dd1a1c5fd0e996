//! The journal of one run.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use falco_core::{Error, ErrorKind, Invocation, InvocationId, Result, RunId, StageName};

use crate::config::{Durability, JournalConfig, Part, ResumeOptions};
use crate::disk::{Disk, Files, create_directory};
use crate::index::key;
use crate::keeper::Keeper;
use crate::lock::Lock;
use crate::log::{Begin, Log};
use crate::reader::Reader;
use crate::record::{Argument, Call, SentAgain, kind};
use crate::releases::Releases;
use crate::replay::{Keep, Replay, replay};
use crate::reuse::Reused;

/// The journal of one run, to which this process writes.
///
/// `RunOptions::with_journal` of `falco-executors` takes it. It is a [`Journal`](falco_core::Journal): a monitor that
/// records what happened, a layer that records what is about to be sent, and the memory of what earlier processes did.
///
/// # Examples
///
/// ```
/// use falco_core::{Journal, RunId};
/// use falco_journal::{JournalConfig, ResumeOptions, RunJournal};
///
/// # fn main() -> falco_core::Result<()> {
/// # let directory = tempfile::tempdir().unwrap();
/// let config = JournalConfig::new(directory.path());
/// let run = RunId::from("6553f100-0000beef");
/// let journal = RunJournal::create(&config, run.clone())?;
/// assert_eq!(*journal.run(), run);
/// drop(journal);
///
/// // In another process:
/// let journal = RunJournal::resume(&config, &run, ResumeOptions::default())?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct RunJournal {
    pub(crate) run: RunId,
    pub(crate) directory: PathBuf,
    pub(crate) durability: Durability,
    pub(crate) options: ResumeOptions,
    /// The first segment of this process, which counts the processes of the run.
    pub(crate) epoch: u32,
    /// The part that a test leaves out.
    pub(crate) without: Option<Part>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) log: Arc<Log>,
    pub(crate) replay: Replay,
    pub(crate) reader: Reader,
    pub(crate) reused: Vec<Reused>,
    pub(crate) releases: Releases,
    pub(crate) state: Mutex<State>,
    pub(crate) is_suspended: AtomicBool,
    /// Whether its layer is around a platform.
    pub(crate) is_layered: AtomicBool,
    _keeper: Keeper,
}

/// The facts that this process has learned.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) stages: HashMap<StageName, Stage>,
    pub(crate) next_stage: u32,
    /// Invocations that an earlier process was sending when it ended, until it is known what became of them.
    pub(crate) doubts: HashMap<(u32, InvocationId), Doubt>,
    /// The first attempt of this process, where it is not the first of all.
    pub(crate) first_attempts: HashMap<u128, u32>,
    /// Deployments of earlier processes that are not there any more.
    pub(crate) vanished: HashSet<String>,
}

/// A stage of the run.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) number: u32,
    /// How often this process has executed it.
    pub(crate) executions: u32,
    /// The identity of its function, where results of other runs may be used.
    pub(crate) pure: Option<Arc<str>>,
}

/// An invocation that an earlier process was sending when it ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doubt {
    pub(crate) attempt: u32,
    pub(crate) call: Call,
}

impl RunJournal {
    /// Begins the journal of a new run.
    ///
    /// # Errors
    ///
    /// `Conflict` when there is a journal of that run already; `InvalidInput` for a run id that cannot be the name of a
    /// directory; `Other` when it cannot be written.
    pub fn create(config: &JournalConfig, run: RunId) -> Result<Arc<Self>> {
        let directory = config.directory_of(&run)?;
        let there = directory.is_dir() && !crate::segment::list(&directory)?.is_empty();
        if there {
            let message = format!("run {run} has a journal already, in {}", directory.display());
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_hint("resume it, or name another run"));
        }
        Self::open(config, run, ResumeOptions::default(), Arc::new(Files))
    }

    /// Goes on with a run whose process has ended.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is no journal of that run; `Conflict` when another process works on it; `Unsupported` for a
    /// journal of a later version of Falco; `Other` for damage, and when it cannot be read or written.
    pub fn resume(
        config: &JournalConfig,
        run: &RunId,
        options: ResumeOptions,
    ) -> Result<Arc<Self>> {
        existing(config, run)?;
        Self::open(config, run.clone(), options, Arc::new(Files))
    }

    pub(crate) fn open(
        config: &JournalConfig,
        run: RunId,
        options: ResumeOptions,
        disk: Arc<dyn Disk>,
    ) -> Result<Arc<Self>> {
        let directory = config.directory_of(&run)?;
        create_directory(&directory).map_err(|error| {
            let message = format!("the directory {} cannot be created", directory.display());
            Error::new(ErrorKind::Other, message).with_source(&error)
        })?;
        let lock = Lock::take(&directory, options.take_over)?;
        let replay = replay(&directory, Keep::Places)?;
        let reused = config.reuse.iter().filter(|other| **other != run);
        let reused =
            reused.map(|run| Reused::open(&existing(config, run)?)).collect::<Result<_>>()?;
        let epoch = replay.segments.last().map_or(1, |segment| segment.number + 1);
        let log = Arc::new(Log::create(
            Begin {
                directory: directory.clone(),
                run: run.as_str().to_owned(),
                name: config.name.clone(),
                command: config.command.clone(),
                first: epoch,
                after: replay.lengths(),
                lost: replay.lost.clone(),
                segment_bytes: config.segment_bytes,
                most_bytes: config.most_bytes,
            },
            disk.clone(),
        )?);
        let state = State {
            stages: replay
                .stages
                .iter()
                .map(|(name, number)| {
                    (name.clone(), Stage { number: *number, executions: 0, pure: None })
                })
                .collect(),
            next_stage: replay.next_stage(),
            ..State::default()
        };
        let keeper = Keeper::start(log.clone(), lock, &directory, config.durability)?;
        Ok(Arc::new(Self {
            run,
            directory,
            durability: config.durability,
            options,
            epoch,
            without: config.without,
            disk,
            log,
            reader: Reader::new(&replay),
            replay,
            reused,
            releases: Releases::default(),
            state: Mutex::new(state),
            is_suspended: AtomicBool::new(false),
            is_layered: AtomicBool::new(false),
            _keeper: keeper,
        }))
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.is_suspended.load(SeqCst)
    }

    /// The number of a stage; one that is new gets the next number.
    pub(crate) fn stage(&self, name: &StageName) -> u32 {
        let mut state = self.state();
        if let Some(stage) = state.stages.get(name) {
            return stage.number;
        }
        let number = state.next_stage;
        state.next_stage += 1;
        state.stages.insert(name.clone(), Stage { number, executions: 0, pure: None });
        number
    }

    /// Takes note that a stage begins, and returns its number.
    pub(crate) fn begin_stage(&self, name: &StageName) -> u32 {
        let number = self.stage(name);
        if let Some(stage) = self.state().stages.get_mut(name) {
            stage.executions += 1;
        }
        number
    }

    /// Whether this process executes the stage of an invocation a second time.
    pub(crate) fn is_executed_again(&self, invocation: &Invocation) -> bool {
        self.state().stages.get(invocation.stage()).is_some_and(|stage| stage.executions > 1)
    }

    /// Records why an invocation with records of earlier processes is sent again.
    pub(crate) fn note(&self, stage: u32, id: &InvocationId, why: &'static str) -> Result<()> {
        let record = SentAgain { s: stage, i: id.clone(), why: Cow::Borrowed(why) };
        self.log.append(kind::SENT_AGAIN, &record).map(drop)
    }

    /// Remembers that the first attempt of this process is not the first of all.
    pub(crate) fn begins_with(&self, stage: u32, id: &InvocationId, attempt: u32) {
        if attempt > 1 {
            self.state().first_attempts.insert(key(stage, id.as_str()), attempt);
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the log is on disk up to `end`, where the journal has to survive the loss of power.
    pub(crate) async fn durable(&self, end: u64) -> Result<()> {
        match self.durability {
            Durability::Machine => self.log.synced(end).await,
            Durability::Process => Ok(()),
        }
    }
}

/// The directory of a run that has a journal.
pub(crate) fn existing(config: &JournalConfig, run: &RunId) -> Result<PathBuf> {
    let directory = config.directory_of(run)?;
    if !directory.is_dir() {
        let message =
            format!("there is no journal of run {run} in {}", config.directory().display());
        return Err(Error::new(ErrorKind::NotFound, message).with_hint(
            "list the runs, or name the directory of the journals by JournalConfig::new",
        ));
    }
    Ok(directory)
}

/// The argument of an invocation differs from the recorded one, and running it again may do harm.
pub(crate) fn other_argument(stage: &StageName, id: &InvocationId) -> Error {
    let message = format!(
        "the argument of {id:?} in stage {stage:?} differs from the one that was recorded, and the stage is not idempotent"
    );
    Error::new(ErrorKind::Conflict, message)
        .with_hint("give it the same inputs as before, or begin a new run")
}

/// Whether the recorded argument is that of an invocation.
pub(crate) fn is_same(recorded: Argument, invocation: &Invocation) -> bool {
    recorded == Argument::of(invocation.payload())
}
