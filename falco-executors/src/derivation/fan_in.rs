//! All results in one invocation.

use falco_core::{
    Completion, Derivation, DerivationContext, Deriver, Error, Input, Payload, Result,
};

use super::group::{Place, check_size, lists, place_of, result_of};

/// All results upstream, sorted by their ids, are the argument of one invocation. It waits for all of them.
///
/// # Examples
///
/// ```
/// use falco_core::{Deployable, Stage};
/// use falco_executors::FanIn;
///
/// # let sum = Deployable::from_source("f", "python:3".parse()?, "def main(args): return args");
/// // def main(args): return {"sum": sum(r["count"] for r in args["results"])}
/// let stage = Stage::derived("sum", sum.clone(), ["map"], FanIn::new());
///
/// // The argument is {"orders": [..], "customers": [..]}.
/// let join = Stage::derived("join", sum, ["a", "b"], FanIn::named(["orders", "customers"]));
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct FanIn {
    names: Option<Vec<String>>,
}

impl FanIn {
    /// The argument is `{"results": [..]}`. After several stages the results of the first come first.
    pub fn new() -> Self {
        Self::default()
    }

    /// The argument has a list for each stage upstream, under these names in the order of the stages.
    pub fn named<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        Self { names: Some(names.into_iter().map(Into::into).collect()) }
    }
}

impl Derivation for FanIn {
    fn start(&self, context: DerivationContext) -> Result<Box<dyn Deriver>> {
        if let Some(names) = &self.names
            && names.len() != context.upstream.len()
        {
            return Err(Error::invalid_input(format!(
                "stage {:?} names {} lists and follows {} stages",
                context.stage,
                names.len(),
                context.upstream.len()
            )));
        }
        let names = self.names.as_deref().unwrap_or_default();
        if let Some(twice) = (1..names.len()).find(|&at| names[..at].contains(&names[at])) {
            let message = format!("stage {:?} names two lists {:?}", context.stage, names[twice]);
            return Err(Error::invalid_input(message));
        }
        Ok(Box::new(All { context, names: self.names.clone(), results: Vec::new() }))
    }

    fn is_barrier(&self) -> bool {
        true
    }

    fn reads_results(&self) -> bool {
        false
    }
}

struct All {
    context: DerivationContext,
    names: Option<Vec<String>>,
    results: Vec<(Place, Payload)>,
}

impl Deriver for All {
    fn on_completion(&mut self, completion: &Completion) -> Result<Vec<Input>> {
        let place = place_of(&self.context, completion);
        self.results.push((place, result_of(completion)?.clone()));
        Ok(Vec::new())
    }

    fn finish(&mut self) -> Result<Vec<Input>> {
        self.results.sort_by(|(left, _), (right, _)| left.cmp(right));
        let payload = match &self.names {
            None => lists([("results", self.results.iter().map(|(_, result)| result).collect())])?,
            Some(names) => {
                let of = |stage| {
                    let of_stage = self.results.iter().filter(move |((at, _), _)| *at == stage);
                    of_stage.map(|(_, result)| result).collect()
                };
                lists(names.iter().enumerate().map(|(stage, name)| (name.as_str(), of(stage))))?
            }
        };
        let input = Input::numbered(0, payload);
        let group = format!("the fan-in of {} results", self.results.len());
        check_size(&self.context, &group, &input, "fan in by Chunks first, or return references")?;
        Ok(vec![input])
    }
}
