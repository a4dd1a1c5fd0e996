//! Where the results of a pipeline go.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use falco_core::{Completion, ExecutionPlan, InvocationId, Payload, StageName, Verdict};

use super::file::Described;
use super::target::Target;
use crate::commands::lines::Lines;

/// Results that name objects in a store, by stage.
pub(super) type Written = BTreeMap<StageName, Vec<(InvocationId, Payload)>>;

/// The results that are written, by stage.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    /// Those that name the objects in a store.
    written: Mutex<Written>,
    /// The place of the writer of each stage that has one; several may write to stdout.
    writers: BTreeMap<StageName, usize>,
    lines: Vec<Lines>,
    targets: Vec<Target>,
    names: Vec<String>,
}

impl Outputs {
    /// Opens the outputs of the stages of a plan, and leaves what files hold until [`begin`](Self::begin). `store` is the
    /// URL of the store that a stage writes to.
    ///
    /// # Errors
    ///
    /// When a file cannot be written to.
    pub(super) fn new<'a>(
        described: &Described,
        plan: &ExecutionPlan,
        store: impl Fn(&StageName) -> Option<&'a str>,
    ) -> anyhow::Result<Self> {
        let mut outputs = Self::default();
        let mut written = Written::new();
        let mut stdout = None;
        for table in &described.stages {
            let name = StageName::from(table.name.get_ref().as_str());
            if let Some(url) = store(&name) {
                outputs.names.push(url.to_owned());
                written.insert(name, Vec::new());
            } else if let Some(path) = &table.output {
                let at = described.beside(path.get_ref());
                let (target, file) = Target::open(&at).map_err(|error| {
                    let what = format!("cannot write to {}: {error}", at.display());
                    described.error(&path.span(), what)
                })?;
                outputs.targets.push(target);
                let place = outputs.add(file)?;
                outputs.names.push(at.display().to_string());
                outputs.writers.insert(name, place);
            } else if plan.downstream(&name).next().is_none() {
                // One writer for all of them, so that lines stay whole.
                let place = match stdout {
                    Some(place) => place,
                    None => {
                        outputs.names.push("stdout".to_owned());
                        outputs.add(io::stdout())?
                    }
                };
                stdout = Some(place);
                outputs.writers.insert(name, place);
            }
        }
        Ok(Self { written: Mutex::new(written), ..outputs })
    }

    fn add(&mut self, to: impl io::Write + Send + 'static) -> anyhow::Result<usize> {
        self.lines.push(Lines::new(to).context("cannot start a thread")?);
        Ok(self.lines.len() - 1)
    }

    /// Empties the files, the first time it is called: the run has begun, and its results replace those of another one.
    /// Returns whether it goes on; [`finish`](Self::finish) says why it does not.
    pub(super) fn begin(&self) -> Verdict {
        match self.targets.iter().all(Target::begin) {
            true => Verdict::Continue,
            false => Verdict::Stop,
        }
    }

    /// Takes the result of an invocation, if it has one.
    pub(super) fn take(&self, completion: &Completion) -> Verdict {
        let Some(result) = completion.result() else { return Verdict::Continue };
        if let Some(place) = self.writers.get(&completion.stage) {
            let goes_on = self.lines[*place].write(result.clone());
            return if goes_on { Verdict::Continue } else { Verdict::Stop };
        }
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(written) = written.get_mut(&completion.stage) {
            written.push((completion.invocation.clone(), result.clone()));
        }
        Verdict::Continue
    }

    /// The results that name objects.
    pub(super) fn written(&self) -> Written {
        std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until everything is written, and says where the results are; nothing if the reader of stdout has gone away.
    ///
    /// # Errors
    ///
    /// When results could not be written.
    pub(super) fn finish(&mut self) -> anyhow::Result<Option<String>> {
        self.targets.iter().try_for_each(Target::check)?;
        let mut readers_stayed = true;
        for lines in &mut self.lines {
            readers_stayed &= lines.finish().context("cannot write results")?;
        }
        let places = self.names.join(", ");
        Ok(readers_stayed.then(|| format!("in all stages, those of the last ones in {places}")))
    }
}
