//! A plan at work: a task for each stage's loop, one for each derivation, and one loop that calls the hooks.
//!
//! Nothing here can wait in a circle: a stage waits for those that follow it, those wait for the main loop, and the main
//! loop waits for nobody.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use falco_core::{
    Completion, Driver, Error, ErrorKind, ExecutionPlan, ExecutionStrategy, InvocationId, Payload,
    Stage, StageSource, Verdict,
};
use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::control::{Inputs, StageControl};
use super::deployed::Deployed;
use super::guard::guard;
use super::node::{CHANNEL, ToMain, nodes};
use super::options::KeepResults;
use super::outcome::RunOutcome;
use super::session::Session;
use super::stage_run::StageRun;
use crate::report::{StageReport, StageState};

/// Executes a plan; see [`DriverExt::execute`](super::DriverExt::execute).
pub(super) async fn execute<D: Driver + ?Sized>(
    driver: &D,
    strategy: &dyn ExecutionStrategy,
    deployed: &Deployed,
) -> RunOutcome {
    let Deployed { session, plan } = deployed;
    let (to_main, mut messages) = mpsc::channel(CHANNEL);
    let controls: Vec<Arc<StageControl>> = plan
        .stages()
        .iter()
        .map(|stage| {
            let control = StageControl::new(stage.name.clone(), session.hub.stop_token());
            let control = control.read(plan.downstream(&stage.name).any(reads_results));
            Arc::new(control.derived(!stage.upstream().is_empty()))
        })
        .collect();
    // Dropped with this future, it aborts the stages, and with them their strategies.
    let mut tasks = JoinSet::new();
    for node in nodes(plan, &controls, session, strategy.submits(), &to_main) {
        tasks.spawn(node.drive());
    }
    drop(to_main);

    let mut main = MainLoop {
        driver,
        strategy,
        session,
        plan,
        controls,
        hooks_are_sound: true,
        reports: vec![None; plan.stages().len()],
        results: kept_stages(&session.keep, plan),
    };
    let mut batch = Vec::with_capacity(CHANNEL);
    let mut outage_limit = pin!(session.limit_outages().fuse());
    loop {
        tokio::select! {
            biased;
            () = session.hub.aborted() => break,
            () = &mut outage_limit => {}
            received = messages.recv_many(&mut batch, CHANNEL) => if received == 0 { break },
        }
        for message in batch.drain(..) {
            main.on_message(message);
        }
    }
    let mut outcome = main.outcome();
    if !session.is_suspended() {
        session.add_failed_logs(&mut outcome.report.stages).await;
    }
    outcome
}

fn reads_results(stage: &Stage) -> bool {
    matches!(&stage.source, StageSource::Derived { derivation, .. } if derivation.reads_results())
}

/// An invocation, its input where inputs are kept, and its result.
type Kept = (InvocationId, Option<Payload>, Payload);

/// The stages whose results are kept, by their place in the plan.
fn kept_stages(keep: &KeepResults, plan: &ExecutionPlan) -> Vec<Option<Vec<Kept>>> {
    let is_kept = |stage: &Stage| match keep {
        KeepResults::Last => plan.downstream(&stage.name).next().is_none(),
        KeepResults::Stages(names) => names.contains(&stage.name),
        KeepResults::Nothing => false,
    };
    plan.stages().iter().map(|stage| is_kept(stage).then(Vec::new)).collect()
}

/// Calls the driver's hooks and the strategy, which are borrowed and cannot move to a task.
struct MainLoop<'a, D: ?Sized> {
    driver: &'a D,
    strategy: &'a dyn ExecutionStrategy,
    session: &'a Session,
    plan: &'a ExecutionPlan,
    controls: Vec<Arc<StageControl>>,
    /// False once a hook has panicked: none is called again.
    hooks_are_sound: bool,
    reports: Vec<Option<StageReport>>,
    results: Vec<Option<Vec<Kept>>>,
}

impl<D: Driver + ?Sized> MainLoop<'_, D> {
    fn on_message(&mut self, message: ToMain) {
        match message {
            ToMain::Ready { at, inputs, reply } => {
                let running = self.start(at, inputs);
                // The stage's task is gone only when the run is.
                let _ = reply.send(running);
            }
            ToMain::Completed { at, completion } => self.on_completion(at, completion),
            ToMain::Ended { at, report } => self.reports[at] = Some(*report),
        }
    }

    fn start(&mut self, at: usize, inputs: Inputs) -> StageRun {
        let stage = &self.plan.stages()[at];
        let control = self.controls[at].clone();
        if !control.stop.is_cancelled() {
            let what = format!("the hook before stage {:?}", stage.name);
            self.hook(&what, |driver| driver.before_stage(stage));
        }
        if control.stop.is_cancelled() {
            return StageRun::not_started(inputs, control, self.session.hub.clone());
        }
        let given = || self.session.given.get(&stage.name).cloned();
        let own = || self.session.functions.deployment_of(&stage.function);
        let Some(deployment) = given().or_else(own) else {
            let message =
                format!("the function of stage {:?} is not deployed any more", stage.name);
            control.fail(Error::invalid_input(message));
            return StageRun::not_started(inputs, control, self.session.hub.clone());
        };
        self.session.execute_under(control, self.strategy, &stage.into(), &deployment, inputs)
    }

    fn on_completion(&mut self, at: usize, completion: Arc<Completion>) {
        let what = "the hook for completions";
        self.hook(what, |driver| driver.on_completion(&completion));
        let Some(results) = &mut self.results[at] else { return };
        if let Some(result) = completion.result() {
            let input = self.session.keep_inputs.then(|| completion.input.clone());
            results.push((completion.invocation.clone(), input, result.clone()));
        }
    }

    fn hook(&mut self, what: &str, hook: impl FnOnce(&D) -> Verdict) {
        if !self.hooks_are_sound {
            return;
        }
        let of_driver = || format!("{what} of driver {:?}", self.driver.name());
        match guard(of_driver, || hook(self.driver)) {
            Ok(Verdict::Continue) => {}
            Ok(Verdict::Stop) => {
                let message = format!("{} stopped the run", of_driver());
                self.session.hub.stop(Error::new(ErrorKind::Cancelled, message));
            }
            Err(panic) => {
                self.hooks_are_sound = false;
                self.session.hub.stop(panic);
            }
        }
    }

    fn outcome(self) -> RunOutcome {
        let stopped_by = self.session.hub.reason();
        let reports: Vec<StageReport> = self
            .reports
            .into_iter()
            .zip(&self.controls)
            .map(|(report, control)| {
                report.unwrap_or_else(|| {
                    control.abandon();
                    control.report(stopped_by).0
                })
            })
            .collect();
        let error = error_of(stopped_by, &reports);
        if let Some(error) = &error {
            // An earlier execution of the same session may have failed, too: the first error stays.
            let _ = self.session.error.set(error.clone());
        }
        let (mut results, mut inputs) = (BTreeMap::new(), BTreeMap::new());
        for (stage, kept) in self.plan.stages().iter().zip(self.results) {
            let Some(mut kept) = kept else { continue };
            kept.sort_by(|(left, ..), (right, ..)| left.cmp(right));
            let inputs_of = kept.iter_mut().filter_map(|(_, input, _)| input.take()).collect();
            inputs.insert(stage.name.clone(), inputs_of);
            let results_of = kept.into_iter().map(|(id, _, result)| (id, result)).collect();
            results.insert(stage.name.clone(), results_of);
        }
        let run = self.session.run().clone();
        let (elapsed, outage) = (self.session.elapsed(), self.session.outages.lost());
        let report = self.session.report_of(error, elapsed, outage, reports);
        let recorded = self.session.hub.journal().is_some();
        let leftovers = Vec::new();
        RunOutcome { run, report, leftovers, suspended: false, recorded, results, inputs }
    }
}

/// The error of a run: a panic in the user's code, else the first stage that failed by itself, else what stopped it.
fn error_of(stopped_by: Option<&Error>, reports: &[StageReport]) -> Option<Error> {
    if let Some(panic) = stopped_by.filter(|error| error.kind() == ErrorKind::Panicked) {
        return Some(panic.clone());
    }
    if let Some(failed) = reports.iter().find(|report| report.state == StageState::Failed) {
        return failed.error.clone();
    }
    let unfinished = reports.iter().find(|report| report.state != StageState::Succeeded)?;
    stopped_by.or(unfinished.error.as_ref()).cloned()
}
