//! Derivations that answer each completion at once: one to one, fan-out, merge.

use std::fmt;
use std::sync::Arc;

use falco_core::{
    Completion, Derivation, DerivationContext, Deriver, Error, Input, InvocationId, Payload, Result,
};
use serde_json::value::RawValue;

use super::group::{about, check_size, id_of, result_of};
use super::pairs::field_of;

type Map = dyn Fn(&Payload) -> Result<Payload> + Send + Sync;
type MapToMany = dyn Fn(&Payload) -> Result<Vec<Payload>> + Send + Sync;

/// Each result of one stage upstream is the argument of one invocation, which keeps the parent's id and starts as soon
/// as the result is there.
///
/// # Examples
///
/// ```
/// use falco_core::{Deployable, Payload, Stage};
/// use falco_executors::OneToOne;
///
/// # let resize = Deployable::from_source("f", "python:3".parse()?, "def main(args): return args");
/// # let label = resize.clone();
/// let stages = vec![
///     Stage::from_payloads("resize", resize, vec![Payload::from_bytes(r#"{"image": "a.png"}"#)?]),
///     Stage::derived("label", label, ["resize"], OneToOne::new()),
/// ];
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct OneToOne(Option<Arc<Map>>);

impl OneToOne {
    /// Hands results on as they are.
    pub fn new() -> Self {
        Self::default()
    }

    /// Hands on what `map` makes of a result. An error fails the stage.
    pub fn by(map: impl Fn(&Payload) -> Result<Payload> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(map)))
    }
}

impl Derivation for OneToOne {
    fn start(&self, context: DerivationContext) -> Result<Box<dyn Deriver>> {
        only_one_upstream(&context, "one-to-one", "Merge")?;
        Ok(Box::new(Each { context, make: Make::One(self.0.clone()) }))
    }

    fn reads_results(&self) -> bool {
        self.0.is_some()
    }
}

/// As [`OneToOne`], after several stages: ids are prefixed by the stage, `STAGE/ID`.
#[derive(Clone, Default)]
pub struct Merge(Option<Arc<Map>>);

impl Merge {
    /// Hands results on as they are.
    pub fn new() -> Self {
        Self::default()
    }

    /// Hands on what `map` makes of a result. An error fails the stage.
    pub fn by(map: impl Fn(&Payload) -> Result<Payload> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(map)))
    }
}

impl Derivation for Merge {
    fn start(&self, context: DerivationContext) -> Result<Box<dyn Deriver>> {
        Ok(Box::new(Each { context, make: Make::One(self.0.clone()) }))
    }

    fn reads_results(&self) -> bool {
        self.0.is_some()
    }
}

/// Each result upstream becomes any number of invocations, as soon as it is there. The ids are the parent's with
/// `.0`, `.1`, .. appended; after several stages they are prefixed by the stage.
///
/// # Examples
///
/// ```
/// use falco_executors::FanOut;
///
/// // {"files": [{"name": "a"}, {"name": "b"}]} becomes two invocations.
/// let by_file = FanOut::of_field("files");
/// ```
#[derive(Clone)]
pub struct FanOut(Arc<MapToMany>);

impl FanOut {
    /// One invocation for each element of the array that results hold in `field`. The elements have to be objects.
    pub fn of_field(field: impl Into<String>) -> Self {
        let field = field.into();
        Self::by(move |result| {
            let array = field_of(result, &field)?;
            let elements: Vec<&RawValue> = serde_json::from_str(array.get()).map_err(|e| {
                Error::invalid_input(format!("the field {field:?} is not an array")).with_source(&e)
            })?;
            elements.iter().map(|element| Payload::from_bytes(element.get().to_owned())).collect()
        })
    }

    /// One invocation for each payload that `map` makes of a result. An error fails the stage.
    pub fn by(map: impl Fn(&Payload) -> Result<Vec<Payload>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(map))
    }
}

impl Derivation for FanOut {
    fn start(&self, context: DerivationContext) -> Result<Box<dyn Deriver>> {
        Ok(Box::new(Each { context, make: Make::Many(self.0.clone()) }))
    }
}

fn only_one_upstream(context: &DerivationContext, this: &str, instead: &str) -> Result<()> {
    if context.upstream.len() == 1 {
        return Ok(());
    }
    Err(Error::invalid_input(format!(
        "stage {:?} is {this} and follows {} stages",
        context.stage,
        context.upstream.len()
    ))
    .with_hint(format!("derive it by {instead}")))
}

struct Each {
    context: DerivationContext,
    make: Make,
}

enum Make {
    One(Option<Arc<Map>>),
    Many(Arc<MapToMany>),
}

impl Each {
    fn input(&self, id: InvocationId, payload: Payload) -> Result<Input> {
        let input = Input::new(id, payload);
        let group = format!("the input {:?}", input.id);
        check_size(&self.context, &group, &input, "return less, or a reference to the data")?;
        Ok(input)
    }
}

impl Deriver for Each {
    fn on_completion(&mut self, completion: &Completion) -> Result<Vec<Input>> {
        let (id, result) = (id_of(&self.context, completion), result_of(completion)?);
        let about = |error: Error| about(&self.context, completion, error);
        match &self.make {
            Make::One(None) => Ok(vec![self.input(id, result.clone())?]),
            Make::One(Some(map)) => Ok(vec![self.input(id, map(result).map_err(about)?)?]),
            Make::Many(map) => {
                let payloads = map(result).map_err(about)?;
                let numbered = payloads.into_iter().enumerate();
                numbered
                    .map(|(k, payload)| self.input(format!("{id}.{k}").into(), payload))
                    .collect()
            }
        }
    }

    fn finish(&mut self) -> Result<Vec<Input>> {
        Ok(Vec::new())
    }
}

impl fmt::Debug for OneToOne {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneToOne")
    }
}

impl fmt::Debug for Merge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Merge")
    }
}

impl fmt::Debug for FanOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FanOut")
    }
}
