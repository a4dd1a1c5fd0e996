//! One stage of a plan at work: its loop and its derivation, each a task of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use falco_core::{
    Completion, DerivationContext, Error, ExecutionPlan, Input, Stage, StageName, StageSource,
};
use futures_util::{StreamExt, stream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::consequences::Consequences;
use super::control::{Inputs, StageControl};
use super::cut::Unsuccessful;
use super::derive::{DerivationTask, FromUpstream};
use super::guard::{guard, panicked};
use super::hub::Hub;
use super::session::Session;
use super::stage_run::StageRun;
use crate::report::StageReport;

/// Completions and inputs that may wait between two tasks.
pub(super) const CHANNEL: usize = 64;

/// Messages from the tasks of the stages to the main loop.
pub(super) enum ToMain {
    /// A stage has its first input, or none at all.
    Ready { at: usize, inputs: Inputs, reply: oneshot::Sender<StageRun> },
    /// An invocation has left the strategy.
    Completed { at: usize, completion: Arc<Completion> },
    /// A stage has ended.
    Ended { at: usize, report: Box<StageReport> },
}

/// One stage of the plan with its connections.
pub(super) struct Node {
    at: usize,
    stage: Stage,
    control: Arc<StageControl>,
    hub: Arc<Hub>,
    /// Completions from upstream, for a derived stage.
    upstream: Option<(DerivationContext, mpsc::Receiver<FromUpstream>)>,
    downstream: Vec<mpsc::Sender<FromUpstream>>,
    consequences: Arc<Consequences>,
    to_main: mpsc::Sender<ToMain>,
}

pub(super) fn nodes(
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
    let consequences = Arc::new(Consequences::new(plan, controls, &session.keep));
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
                capabilities.for_runtime(&stage.function.runtime),
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
            consequences: consequences.clone(),
            to_main: to_main.clone(),
        });
    }
    nodes
}

impl Node {
    /// Runs the stage to its end, and notifies the main loop and the stages that follow.
    pub(super) async fn drive(mut self) {
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
        let (report, end) = running.conclude();
        self.report_end(&report, end).await;
        let _ = self.to_main.send(ToMain::Ended { at: self.at, report: Box::new(report) }).await;
    }

    /// The stage's inputs, once the first is there.
    async fn inputs(&mut self) -> (Inputs, Option<AbortOnDropHandle<()>>) {
        match (&self.stage.source, self.upstream.take()) {
            (StageSource::Derived { derivation, .. }, Some((context, upstream))) => {
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
            (StageSource::Inputs(factory), _) => {
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

    /// Says how the stage ended. One that ran to its end with failures lets those that follow finish what they have;
    /// one that was cut short cuts them short, too.
    async fn report_end(&self, report: &StageReport, end: Option<Unsuccessful>) {
        if let Some(end) = &end {
            let counts = &report.invocations;
            let was_cut_short = self.control.has_failed()
                || counts.cancelled + counts.skipped > 0
                || !self.control.exhausted.load(SeqCst);
            self.consequences.stop_followers(self.at, end, was_cut_short);
            self.consequences.stop_useless(end);
        }
        for downstream in &self.downstream {
            let ended = FromUpstream::Ended { stage: self.stage.name.clone(), end: end.clone() };
            let _ = downstream.send(ended).await;
        }
    }
}

fn failing(error: Error) -> Inputs {
    stream::iter([Err::<Input, Error>(error)]).boxed()
}
