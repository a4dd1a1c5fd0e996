//! Batches that were submitted: what becomes of them is collected, and divided among their inputs.

use std::collections::{BTreeMap, HashSet};

use falco_core::{ActivationId, Collected, InvocationId, Pending, Release, Result};

use super::unpack::{Unpacked, unpack};
use super::{Batches, running};
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
                (in_result(&activation).max(last + 1), false, String::new(), false)
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
            let mut state = self.lock();
            let done = match state.submitted.get_mut(&batch) {
                Some(submitted) => {
                    submitted.released.insert(index);
                    submitted.is_abandoned |= release == Release::Abandoned;
                    submitted.released.len() >= submitted.inputs.len()
                }
                None if batch == *id => true,
                // An earlier process submitted it, and other inputs of it may still be asked for.
                None => false,
            };
            if !done {
                continue;
            }
            let submitted = state.submitted.remove(&batch);
            drop(state);
            let release = match submitted {
                Some(submitted) if submitted.is_abandoned => Release::Abandoned,
                _ => release,
            };
            self.platform.release(&self.deployment, std::slice::from_ref(&batch), release);
        }
    }
}

/// How many answers the result of a batch holds.
fn in_result(batch: &falco_core::Activation) -> usize {
    let result = batch.outcome.as_ref().ok();
    result.and_then(super::envelope::count).unwrap_or_default()
}
