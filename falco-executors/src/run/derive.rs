//! A derivation at work: from completions upstream to the inputs of a stage.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use falco_core::{
    Completion, Derivation, DerivationContext, Deriver, Event, Input, Monitor, Result, StageName,
};
use tokio::sync::mpsc;

use super::control::StageControl;
use super::cut::{Cut, Unsuccessful};
use super::guard::guard;
use super::hub::Hub;

/// A message of a stage to those that follow it.
pub(super) enum FromUpstream {
    /// An invocation succeeded.
    Succeeded(Arc<Completion>),
    /// The stage has ended; nothing more comes from it.
    Ended {
        /// The stage.
        stage: StageName,
        /// Why it did not succeed, if it did not.
        end: Option<Unsuccessful>,
    },
}

/// The derivation of one stage, as a task of its own.
pub(super) struct DerivationTask {
    pub(super) recipe: Arc<dyn Derivation>,
    pub(super) context: DerivationContext,
    pub(super) control: Arc<StageControl>,
    pub(super) hub: Arc<Hub>,
    pub(super) upstream: mpsc::Receiver<FromUpstream>,
    pub(super) inputs: mpsc::Sender<Result<Input>>,
}

/// Nobody takes inputs any more.
struct Closed;

impl DerivationTask {
    /// Runs until the stages upstream have ended, or this one stops. What went wrong is sent as the last input.
    pub(super) async fn run(mut self) {
        let recipe = self.recipe.clone();
        let context = self.context.clone();
        let started = guard(|| self.name(), || recipe.start(context));
        let mut derive = match started.and_then(std::convert::identity) {
            Ok(derive) => derive,
            Err(error) => return drop(self.inputs.send(Err(error)).await),
        };
        let mut sent = 0;
        if self.follow(&mut *derive, &mut sent).await.is_err() {
            return;
        }
        self.sized(sent);
    }

    async fn follow(&mut self, derive: &mut dyn Deriver, sent: &mut u64) -> Result<(), Closed> {
        let mut all_succeeded = true;
        let mut running = self.context.upstream.len();
        while running > 0 {
            let stop = self.control.stop.clone();
            let message = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Closed),
                message = self.upstream.recv() => message,
            };
            match message {
                Some(FromUpstream::Succeeded(completion)) => {
                    let inputs = guard(|| self.name(), || derive.on_completion(&completion));
                    self.send(inputs.and_then(std::convert::identity), sent).await?;
                }
                Some(FromUpstream::Ended { stage, end }) => {
                    running -= 1;
                    if let Some(end) = end {
                        all_succeeded = false;
                        self.control.cut(Cut::by_upstream(&stage, &end));
                    }
                }
                None => return Err(Closed),
            }
        }
        if all_succeeded {
            let inputs = guard(|| self.name(), || derive.finish()).and_then(std::convert::identity);
            if let Ok(inputs) = &inputs {
                // Those that are not taken from here on are counted as skipped.
                self.control.inputs_are_whole.store(true, SeqCst);
                self.sized(*sent + inputs.len() as u64);
            }
            self.send(inputs, sent).await?;
        }
        Ok(())
    }

    /// Hands inputs over; those that nobody takes any more are counted as skipped.
    async fn send(&self, inputs: Result<Vec<Input>>, sent: &mut u64) -> Result<(), Closed> {
        let inputs = match inputs {
            Ok(inputs) => inputs,
            Err(error) => {
                let _ = self.inputs.send(Err(error)).await;
                return Err(Closed);
            }
        };
        let mut inputs = inputs.into_iter();
        while let Some(input) = inputs.next() {
            let is_taken = tokio::select! {
                biased;
                () = self.control.stop.cancelled() => false,
                result = self.inputs.send(Ok(input)) => result.is_ok(),
            };
            if !is_taken {
                self.control.recorder.skipped(inputs.len() as u64 + 1, false);
                return Err(Closed);
            }
            *sent += 1;
        }
        Ok(())
    }

    fn sized(&self, invocations: u64) {
        let stage = &self.context.stage;
        let _ = self.hub.event(&Event::StageSized { stage, invocations });
    }

    fn name(&self) -> String {
        format!("the derivation of stage {:?}", self.context.stage)
    }
}
