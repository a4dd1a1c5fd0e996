//! A plan at work: a task for each stage's loop, one for each derivation, and one loop that calls the hooks.
//!
//! Nothing here can wait in a circle: a stage waits for those that follow it, those wait for the main loop, and the main
//! loop waits for nobody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use falco_core::{
    Completion, DerivationContext, Driver, Error, ErrorKind, ExecutionPlan, ExecutionStrategy,
    Input, InvocationId, Payload, Source, Stage, StageName, Verdict,
};
use futures_util::{StreamExt, stream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::control::{Inputs, StageControl};
use super::derive::{DerivationTask, FromUpstream};
use super::driver_ext::Deployed;
use super::guard::{guard, panicked};
use super::hub::Hub;
use super::options::Keep;
use super::outcome::RunOutcome;
use super::session::Session;
use super::stage_run::StageRun;
use crate::report::{RunReport, StageReport, StageState};

/// Completions and inputs that may wait between two tasks.
const CHANNEL: usize = 64;

/// What the tasks of the stages tell the main loop.
enum ToMain {
    /// A stage has its first input, or none at all.
    Ready { at: usize, inputs: Inputs, reply: oneshot::Sender<StageRun> },
    /// An invocation has left the strategy.
    Completed { at: usize, completion: Arc<Completion> },
    /// A stage has ended.
    Ended { at: usize, report: Box<StageReport> },
}

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
        .map(|stage| StageControl::new(stage.name.clone(), session.hub.stop_token()))
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
    loop {
        tokio::select! {
            biased;
            () = session.hub.left() => break,
            received = messages.recv_many(&mut batch, CHANNEL) => if received == 0 { break },
        }
        for message in batch.drain(..) {
            main.on_message(message);
        }
    }
    main.outcome()
}

/// The stages whose results are kept, by their place in the plan.
fn kept_stages(keep: &Keep, plan: &ExecutionPlan) -> Vec<Option<Vec<(InvocationId, Payload)>>> {
    let is_kept = |stage: &Stage| match keep {
        Keep::Last => plan.downstream(&stage.name).next().is_none(),
        Keep::Stages(names) => names.contains(&stage.name),
        Keep::Nothing => false,
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
    results: Vec<Option<Vec<(InvocationId, Payload)>>>,
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
        let Some(deployment) = self.session.deployment_of(&stage.function) else {
            let message =
                format!("the function of stage {:?} is not deployed any more", stage.name);
            control.fail(Error::invalid_input(message));
            return StageRun::not_started(inputs, control, self.session.hub.clone());
        };
        self.session.execute_under(control, self.strategy, stage, &deployment, inputs)
    }

    fn on_completion(&mut self, at: usize, completion: Arc<Completion>) {
        let what = "the hook for completions";
        self.hook(what, |driver| driver.on_completion(&completion));
        let Some(results) = &mut self.results[at] else { return };
        if let Some(result) = completion.result() {
            results.push((completion.invocation.clone(), result.clone()));
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
        let is_stopped = self.session.hub.is_stopped();
        let reports: Vec<StageReport> = self
            .reports
            .into_iter()
            .zip(&self.controls)
            .map(|(report, control)| report.unwrap_or_else(|| control.report(is_stopped)))
            .collect();
        let error = error_of(self.session.hub.reason(), &reports);
        let mut results = BTreeMap::new();
        for (stage, kept) in self.plan.stages().iter().zip(self.results) {
            let Some(mut kept) = kept else { continue };
            kept.sort_by(|(left, _), (right, _)| left.cmp(right));
            results.insert(stage.name.clone(), kept);
        }
        let run = self.session.run().clone();
        let report = RunReport::new(run.clone(), error, self.session.elapsed(), reports);
        RunOutcome { run, report, leftovers: Vec::new(), results }
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

/// One stage of the plan with its connections.
struct Node {
    at: usize,
    stage: Stage,
    control: Arc<StageControl>,
    hub: Arc<Hub>,
    /// Completions from upstream, for a derived stage.
    upstream: Option<(DerivationContext, mpsc::Receiver<FromUpstream>)>,
    downstream: Vec<mpsc::Sender<FromUpstream>>,
    /// All stages that follow, directly or not.
    descendants: Vec<Arc<StageControl>>,
    to_main: mpsc::Sender<ToMain>,
}

fn nodes(
    plan: &ExecutionPlan,
    controls: &[Arc<StageControl>],
    session: &Session,
    submits: bool,
    to_main: &mpsc::Sender<ToMain>,
) -> Vec<Node> {
    let stages = plan.stages();
    let mut capabilities = session.platform().capabilities();
    capabilities.submit &= submits;
    let place: BTreeMap<&StageName, usize> =
        stages.iter().enumerate().map(|(at, stage)| (&stage.name, at)).collect();
    let mut nodes: Vec<Node> = Vec::with_capacity(stages.len());
    for (at, stage) in stages.iter().enumerate() {
        let mut upstream = None;
        if !stage.upstream().is_empty() {
            let (sender, receiver) = mpsc::channel(CHANNEL);
            // Each stage comes after those that it follows.
            for name in stage.upstream() {
                nodes[place[name]].downstream.push(sender.clone());
            }
            let context = DerivationContext::new(
                stage.name.clone(),
                stage.upstream().to_vec(),
                capabilities.clone(),
            );
            upstream = Some((context, receiver));
        }
        nodes.push(Node {
            at,
            stage: stage.clone(),
            control: controls[at].clone(),
            hub: session.hub.clone(),
            upstream,
            downstream: Vec::new(),
            descendants: Vec::new(),
            to_main: to_main.clone(),
        });
    }
    for (at, descendants) in descendants(stages, &place).into_iter().enumerate() {
        nodes[at].descendants = descendants.into_iter().map(|at| controls[at].clone()).collect();
    }
    nodes
}

/// For each stage all that follow it, directly or not.
fn descendants(stages: &[Stage], place: &BTreeMap<&StageName, usize>) -> Vec<Vec<usize>> {
    let mut descendants = vec![Vec::new(); stages.len()];
    for at in (0..stages.len()).rev() {
        let mut own: Vec<usize> = descendants[at].clone();
        own.push(at);
        for name in stages[at].upstream() {
            let of_upstream: &mut Vec<usize> = &mut descendants[place[name]];
            of_upstream.extend(&own);
            of_upstream.sort_unstable();
            of_upstream.dedup();
        }
    }
    descendants
}

impl Node {
    async fn drive(mut self) {
        let (inputs, derivation) = self.inputs().await;
        let (reply, running) = oneshot::channel();
        let ready = ToMain::Ready { at: self.at, inputs, reply };
        if self.to_main.send(ready).await.is_err() {
            return;
        }
        let Ok(mut running) = running.await else { return };
        while let Some(completion) = running.next().await {
            self.pass_on(Arc::new(completion)).await;
        }
        running.close().await;
        if let Some(derivation) = derivation
            && let Err(error) = derivation.await
            && error.is_panic()
        {
            let what = format!("the derivation of stage {:?}", self.stage.name);
            self.control.fail(panicked(&what, &*error.into_panic()));
        }
        let report = running.conclude();
        self.tell_downstream(&report).await;
        let _ = self.to_main.send(ToMain::Ended { at: self.at, report: Box::new(report) }).await;
    }

    /// The stage's inputs, once the first is there.
    async fn inputs(&mut self) -> (Inputs, Option<AbortOnDropHandle<()>>) {
        match (&self.stage.source, self.upstream.take()) {
            (Source::Derived { derivation, .. }, Some((context, upstream))) => {
                let (sender, mut receiver) = mpsc::channel(CHANNEL);
                let task = DerivationTask {
                    recipe: derivation.clone(),
                    context,
                    control: self.control.clone(),
                    hub: self.hub.clone(),
                    upstream,
                    inputs: sender,
                };
                let task = AbortOnDropHandle::new(tokio::spawn(task.run()));
                let first = receiver.recv().await;
                let rest = stream::poll_fn(move |cx| receiver.poll_recv(cx));
                (stream::iter(first).chain(rest).boxed(), Some(task))
            }
            (Source::Inputs(factory), _) => {
                let what = || format!("the input stream of stage {:?}", self.stage.name);
                let opened = guard(what, || factory.open());
                (opened.unwrap_or_else(failing), None)
            }
            _ => (failing(Error::unsupported("a stage with a source of unknown kind")), None),
        }
    }

    async fn pass_on(&self, completion: Arc<Completion>) {
        if completion.is_success() {
            for stage in &self.downstream {
                // A stage that has stopped takes nothing more.
                let _ = stage.send(FromUpstream::Succeeded(completion.clone())).await;
            }
        }
        let _ = self.to_main.send(ToMain::Completed { at: self.at, completion }).await;
    }

    /// A stage that ran to its end with failures lets those that follow finish what they have; one that was cut short
    /// cuts them short, too.
    async fn tell_downstream(&self, report: &StageReport) {
        let succeeded = report.state == StageState::Succeeded;
        let counts = &report.invocations;
        let cut_short = self.control.has_failed()
            || counts.cancelled + counts.skipped > 0
            || !self.control.exhausted.load(SeqCst);
        if !succeeded && cut_short {
            for control in &self.descendants {
                control.upstream_failed(&self.stage.name);
                control.stop.cancel();
            }
        }
        for downstream in &self.downstream {
            let ended = FromUpstream::Ended { stage: self.stage.name.clone(), succeeded };
            let _ = downstream.send(ended).await;
        }
    }
}

fn failing(error: Error) -> Inputs {
    stream::iter([Err::<Input, Error>(error)]).boxed()
}
