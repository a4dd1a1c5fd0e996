//! The shuffle through storage: what each mapper wrote for a partition becomes the argument of one reducer.

mod blocks;
mod group;

use std::sync::Arc;

use falco_core::{
    Completion, Derivation, DerivationContext, Deriver, Error, ErrorKind, Input, Payload, Result,
    Stage, StageName,
};
use serde::Serialize;

use crate::object::Sink;
use crate::reference::PartsFields;
use group::{Written, group, references};

/// Derives the inputs of reducers from what mappers wrote with `emit` or `partition`: each partition with content is one
/// invocation, whose id is the partition's number and whose argument is
///
/// ```json
/// {"in": {"falco:parts": ..}, "partition": 3, "partitions": 1, "out": {"falco:sink": ..}}
/// ```
///
/// In the function `args["in"].groups()` gives each key with its values, sorted. After several stages the argument has the
/// parts of each under the stage's name instead of `in`; such a stage cannot be named `partition`, `partitions` or `out`. It waits
/// for all mappers, knows the size of every partition before a reducer starts, and neither lists nor reads anything.
///
/// The partition of a key is the CRC-32 (IEEE) of its UTF-8 text, modulo the number of partitions.
///
/// # Examples
///
/// ```
/// use falco_core::{Deployable, Stage};
/// use falco_data::{Exchange, Splits, Sink, Store};
///
/// # let (count, total) = (Deployable::python("c", "def main(args): return {}"), Deployable::python("t", "def main(args): return {}"));
/// let splits = Splits::lines(&Store::open("file:///data")?, "texts").with_sink(Sink::scratch().partitions(16));
/// let map = Stage::new("map", count, move || splits.inputs());
/// // The mapper returns {"out": out.close()}.
/// let reduce = Stage::derived("reduce", total, ["map"], Exchange::of_field("out"));
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Exchange {
    field: Arc<str>,
    sink: Option<Sink>,
    coalesce: u64,
    max_partition: Option<u64>,
    max_requests: u64,
    /// The result says with which partition its object begins.
    is_second: bool,
}

/// 200,000 requests cost 8 cents on S3 and take 36 seconds at its rate for one prefix.
const MAX_REQUESTS: u64 = 200_000;

/// The fields of a reducer's argument beside its inputs.
const FIELDS: [&str; 3] = ["partition", "partitions", "out"];

impl Exchange {
    /// Takes the object that each result holds in `field`.
    pub fn of_field(field: &str) -> Self {
        Self {
            field: field.into(),
            sink: None,
            coalesce: 0,
            max_partition: None,
            max_requests: MAX_REQUESTS,
            is_second: false,
        }
    }

    /// Merges in two levels: the stage merges what `fan_in` mappers of `after` wrote at a time, and the exchange derives
    /// from that stage. Instead of one request for each mapper and partition there are about two for each mapper and each
    /// of its blocks. What mappers wrote has to be made by `emit`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when `fan_in` is below 2, and for the field `first`.
    pub fn two_level(
        after: impl Into<StageName>,
        field: &str,
        fan_in: u32,
    ) -> Result<(Stage, Self)> {
        Self::of_field(field).by_blocks(after, fan_in)
    }

    /// As [`two_level`](Self::two_level), with the settings of this exchange.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when `fan_in` is below 2.
    pub fn by_blocks(self, after: impl Into<StageName>, fan_in: u32) -> Result<(Stage, Self)> {
        let stage = blocks::stage(after.into(), &self.field, fan_in)?;
        Ok((stage, Self { is_second: true, ..self }))
    }

    /// Gives each reducer a place to write to, in the field `out` of its argument. A place outside of the scratch store is
    /// numbered as the partition is.
    #[must_use]
    pub fn with_sink(mut self, sink: Sink) -> Self {
        self.sink = Some(sink);
        self
    }

    /// Lets one invocation take several neighbouring partitions, up to `bytes` together.
    #[must_use]
    pub fn coalesce(mut self, bytes: u64) -> Self {
        self.coalesce = bytes;
        self
    }

    /// Fails the stage, by name, when a partition has more than `bytes`, instead of starting a reducer that would not fit.
    #[must_use]
    pub fn max_partition(mut self, bytes: u64) -> Self {
        self.max_partition = Some(bytes);
        self
    }

    /// Fails the stage when all reducers together would read more than `requests` ranges; 200,000 unless set.
    #[must_use]
    pub fn max_requests(mut self, requests: u64) -> Self {
        self.max_requests = requests;
        self
    }
}

impl Derivation for Exchange {
    fn start(&self, context: DerivationContext) -> Result<Box<dyn Deriver>> {
        let is_taken =
            |name: &&StageName| context.upstream.len() > 1 && FIELDS.contains(&name.as_str());
        if let Some(name) = context.upstream.iter().find(is_taken) {
            let message = format!(
                "stage {:?} cannot follow a stage named {name:?}, which is a field of its arguments",
                context.stage
            );
            return Err(Error::invalid_input(message).with_hint("rename that stage"));
        }
        Ok(Box::new(Exchanging { context, recipe: self.clone(), written: Vec::new() }))
    }

    fn is_barrier(&self) -> bool {
        true
    }
}

struct Exchanging {
    context: DerivationContext,
    recipe: Exchange,
    written: Vec<Written>,
}

impl Deriver for Exchanging {
    fn on_completion(&mut self, completion: &Completion) -> Result<Vec<Input>> {
        let (field, is_second) = (&self.recipe.field, self.recipe.is_second);
        self.written.push(Written::of(&self.context, completion, field, is_second)?);
        Ok(Vec::new())
    }

    fn finish(&mut self) -> Result<Vec<Input>> {
        let mut written = std::mem::take(&mut self.written);
        written.sort_by(|left, right| left.place.cmp(&right.place));
        let context = &self.context;
        let groups = group(context, &written, self.recipe.coalesce, self.recipe.max_partition)?;
        let requests: u64 = groups.iter().map(|group| group.requests).sum();
        if requests > self.recipe.max_requests {
            return Err(too_many(context, requests, self.recipe.max_requests));
        }
        groups.iter().map(|group| self.input(&written, group.from, group.to)).collect()
    }
}

/// The argument of a reducer.
#[derive(Serialize)]
struct Argument {
    #[serde(flatten)]
    inputs: serde_json::Map<String, serde_json::Value>,
    partition: u64,
    partitions: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<Sink>,
}

impl Exchanging {
    fn input(&self, written: &[Written], from: u64, to: u64) -> Result<Input> {
        let mut inputs = serde_json::Map::new();
        for (stage, name) in self.context.upstream.iter().enumerate() {
            let of_stage = written.iter().filter(|it| it.place.0 == stage);
            let parts = parts_json(&references(of_stage, from, to));
            let is_only = self.context.upstream.len() == 1;
            inputs.insert(if is_only { "in".to_owned() } else { name.to_string() }, parts);
        }
        let out = self.recipe.sink.clone().map(|sink| sink.numbered(from));
        let argument = Argument { inputs, partition: from, partitions: to - from, out };
        let payload = Payload::json(&argument)?;
        checked(&self.context, from, &payload)?;
        let number = usize::try_from(from).unwrap_or(usize::MAX);
        Ok(Input::numbered(number, payload))
    }
}

fn parts_json(parts: &PartsFields) -> serde_json::Value {
    serde_json::json!({ "falco:parts": parts })
}

fn checked(context: &DerivationContext, partition: u64, payload: &Payload) -> Result<()> {
    payload.check_argument(context.max_payload()).map_err(|error| {
        error
            .context(format_args!("stage {:?}: partition {partition}", context.stage))
            .with_hint("use fewer mappers, or merge in two levels by Exchange::two_level")
    })
}

fn too_many(context: &DerivationContext, requests: u64, most: u64) -> Error {
    // Cents: S3 takes $0.40 a million.
    let cents = requests / 25_000;
    Error::new(
        ErrorKind::InvalidInput,
        format!(
            "stage {:?} would read {requests} ranges, and {most} are allowed: on S3 that is ${}.{:02} \
             and {} s at 5,500 requests a second",
            context.stage,
            cents / 100,
            cents % 100,
            requests / 5_500,
        ),
    )
    .with_hint("use fewer partitions, merge in two levels by Exchange::two_level, or raise Exchange::max_requests")
}
