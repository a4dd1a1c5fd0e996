//! Batches that were submitted: what becomes of them is collected, and divided among their inputs.

use std::collections::{BTreeMap, HashSet};

use falco_core::{Activation, ActivationId, Collected, InvocationId, Pending, Release, Result};

use super::unpack::{Unpacked, unpack};
use super::{Batches, State, running};
use crate::strategy::caught::caught;

/// A batch at the platform, until each of its inputs is released.
#[derive(Debug)]
pub(super) struct Submitted {
    inputs: Vec<InvocationId>,
    is_idempotent: bool,
    mark: String,
    released: HashSet<usize>,
    is_abandoned: bool,
    is_measured: bool,
}

impl Submitted {
    pub(super) fn new(inputs: Vec<InvocationId>, is_idempotent: bool, mark: String) -> Self {
        let released = HashSet::new();
        Self { inputs, is_idempotent, mark, released, is_abandoned: false, is_measured: false }
    }
}

impl Batches {
    /// The activation that runs an input and the index of the input in it; `None` for what travelled by itself.
    pub(super) fn holder(&self, id: &ActivationId) -> Option<(ActivationId, usize)> {
        match self.lock().submitted.get(id) {
            Some(_) => None,
            None => id.member(),
        }
    }

    /// Collects what became of batches, and hands out what belongs to the inputs that were asked for.
    pub(super) async fn collect_inputs(&self, pending: &[Pending]) -> Result<Collected> {
        let mut asked: BTreeMap<ActivationId, (Pending, Vec<usize>)> = BTreeMap::new();
        for pending in pending {
            let (id, index) = match self.holder(&pending.id) {
                Some((batch, index)) => (batch, Some(index)),
                None => (pending.id.clone(), None),
            };
            let holder = || (Pending::new(id.clone(), pending.submitted_at), Vec::new());
            asked.entry(id.clone()).or_insert_with(holder).1.extend(index);
        }
        {
            let state = &mut *self.lock();
            for (id, (_, indices)) in asked.iter().filter(|(_, (_, indices))| !indices.is_empty()) {
                if !state.submitted.contains_key(id) {
                    let earlier = state.earlier.entry(id.clone()).or_default();
                    indices.iter().for_each(|index| earlier.ask(*index));
                }
            }
        }
        let holders: Vec<Pending> = asked.values().map(|(pending, _)| pending.clone()).collect();
        let (platform, deployment) = (&*self.platform, &*self.deployment);
        let collecting = async { platform.collect(deployment, &holders).await };
        let Collected { finished, gone, poll_after, is_from_memory, .. } =
            caught(platform, "collect", collecting).await?;
        let mut divided =
            Collected::new(Vec::new(), Vec::new(), poll_after).with_from_memory(is_from_memory);
        let mut batches = Vec::new();
        for activation in finished {
            let indices = asked.get(&activation.id).map_or(&[][..], |(_, indices)| indices);
            let known = self.lock().submitted.get_mut(&activation.id).map(|batch| {
                let is_new = !std::mem::replace(&mut batch.is_measured, true);
                (batch.inputs.len(), batch.is_idempotent, batch.mark.clone(), is_new)
            });
            if let Some((inputs, _, _, true)) = &known {
                self.measure(&activation, *inputs);
            }
            let Some(last) = indices.iter().max() else {
                divided.finished.push(activation);
                continue;
            };
            // What an earlier process submitted is only known by what the journal says of its inputs.
            let (inputs, is_idempotent, mark, _) = known.unwrap_or_else(|| {
                let answers = in_result(&activation);
                self.end_earlier(&activation.id, answers);
                (answers.unwrap_or_default().max(last + 1), false, String::new(), false)
            });
            batches.push((activation, indices, inputs, is_idempotent, mark));
        }
        let marked: Vec<_> = batches.iter().map(|(batch, .., mark)| (batch, &**mark)).collect();
        let running = running::running_inputs(platform, deployment, &marked).await;
        for ((activation, indices, inputs, is_idempotent, _), running) in
            batches.into_iter().zip(running)
        {
            let id = activation.id.clone();
            let unpacked = unpack(activation, inputs, is_idempotent, running);
            for (index, Unpacked { answer, at_most }) in unpacked.into_iter().enumerate() {
                if !indices.contains(&index) {
                    continue;
                }
                if let Some(at_most) = at_most {
                    self.limit(&id, index, at_most);
                }
                match answer {
                    Ok(activation) => divided.finished.push(activation),
                    Err(error) => divided.gone.push((id.of_member(index), error)),
                }
            }
        }
        for (id, error) in gone {
            self.end_earlier(&id, None);
            let indices = asked.get(&id).map_or(&[][..], |(_, indices)| indices);
            match indices {
                [] => divided.gone.push((id, error)),
                _ => divided
                    .gone
                    .extend(indices.iter().map(|index| (id.of_member(*index), error.clone()))),
            }
        }
        Ok(divided)
    }

    /// Takes note of what became of the batch of an earlier process.
    fn end_earlier(&self, batch: &ActivationId, answers: Option<usize>) {
        if let Some(earlier) = self.lock().earlier.get_mut(batch) {
            earlier.end(answers);
        }
    }

    /// Limits the next batch that an input travels in.
    fn limit(&self, batch: &ActivationId, index: usize, at_most: usize) {
        let mut state = self.lock();
        let input = state.submitted.get(batch).and_then(|batch| batch.inputs.get(index).cloned());
        if let Some(input) = input {
            state.at_most.insert(input, at_most);
        }
    }

    /// Lets go of inputs, and of each batch whose inputs are all let go of.
    pub(super) fn let_go(&self, ids: &[ActivationId], release: Release) {
        for id in ids {
            let holder = self.holder(id);
            let (batch, index) = holder.unwrap_or_else(|| (id.clone(), 0));
            let released = self.lock().let_go(&batch, index, batch == *id, release);
            if let Some(release) = released {
                self.platform.release(&self.deployment, std::slice::from_ref(&batch), release);
            }
        }
    }
}

impl State {
    /// Lets go of an input of a batch, or of one that is a call by itself. Returns how the call is released, if it is.
    fn let_go(
        &mut self,
        batch: &ActivationId,
        index: usize,
        is_call: bool,
        release: Release,
    ) -> Option<Release> {
        if let Some(submitted) = self.submitted.get_mut(batch) {
            submitted.released.insert(index);
            submitted.is_abandoned |= release == Release::Abandoned;
            if submitted.released.len() < submitted.inputs.len() {
                return None;
            }
            let is_abandoned = self.submitted.remove(batch)?.is_abandoned;
            return Some(if is_abandoned { Release::Abandoned } else { release });
        }
        if is_call {
            return Some(release);
        }
        let earlier = self.earlier.get_mut(batch)?;
        earlier.let_go(index, release);
        let release = earlier.release(false)?;
        self.earlier.remove(batch);
        Some(release)
    }
}

/// How many answers the result of a batch holds.
fn in_result(batch: &Activation) -> Option<usize> {
    batch.outcome.as_ref().ok().and_then(super::envelope::count)
}
