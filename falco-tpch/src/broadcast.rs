//! A derivation of our own: every split together with the results of the stages before.

use std::sync::Arc;

use falco_core::{
    Completion, Derivation, DerivationContext, Deriver, Error, Input, InvocationId, Payload, Result,
};
use serde_json::{Map, Value};

/// Derives one invocation for each planned split, whose argument has in `side` also the results of the stages before: small
/// tables that every scan needs. What they refer to is fetched by the functions.
#[derive(Clone, Debug)]
pub struct Broadcast {
    splits: Arc<[Input]>,
}

impl Broadcast {
    /// Takes splits that were planned before.
    pub fn over(splits: Vec<Input>) -> Self {
        Self { splits: splits.into() }
    }
}

impl Derivation for Broadcast {
    fn start(&self, _: DerivationContext) -> Result<Box<dyn Deriver>> {
        Ok(Box::new(Waiting { splits: self.splits.clone(), results: Vec::new() }))
    }

    fn is_barrier(&self) -> bool {
        true
    }

    fn reads_results(&self) -> bool {
        false
    }
}

struct Waiting {
    splits: Arc<[Input]>,
    results: Vec<(InvocationId, Payload)>,
}

impl Deriver for Waiting {
    fn on_completion(&mut self, completion: &Completion) -> Result<Vec<Input>> {
        let result = completion.result().ok_or_else(|| {
            Error::invalid_input(format!("{:?} has no result", completion.invocation))
        })?;
        self.results.push((completion.invocation.clone(), result.clone()));
        Ok(Vec::new())
    }

    fn finish(&mut self) -> Result<Vec<Input>> {
        self.results.sort_by(|(one, _), (other, _)| one.cmp(other));
        let side: Vec<Value> =
            self.results.iter().map(|(_, result)| result.parse()).collect::<Result<_>>()?;
        let side = Value::from(side);
        let with_side = |split: &Input| {
            let mut argument: Map<String, Value> = split.payload.parse()?;
            argument.insert("side".to_owned(), side.clone());
            Ok(Input::new(split.id.clone(), Payload::json(&argument)?))
        };
        self.splits.iter().map(with_side).collect()
    }
}
