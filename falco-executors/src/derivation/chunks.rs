//! Results in chunks of n.

use std::collections::HashMap;

use falco_core::{
    Completion, Derivation, DerivationContext, Deriver, Error, Input, InvocationId, Payload, Result,
};

use super::group::{Place, check_size, lists, place_of, result_of};
use crate::run::number_of;

/// Up to n results upstream are the argument of one invocation: `{"results": [..]}`.
///
/// Chunks go by sequence number, so that they don't depend on the order of arrival: of numbered invocations the first
/// chunk has the numbers 0 to n - 1, and starts as soon as these are there. Results whose ids are not numbers, such as
/// those of a fan-out, wait for the end and are chunked in the order of their ids. After several stages each is chunked
/// by itself.
///
/// The chunks are numbered; those of ids without a number are `rest.00000000` and so on; after several stages the stage
/// comes first, `STAGE/00000000`.
///
/// # Examples
///
/// ```
/// use falco_executors::Chunks;
///
/// let by_hundreds = Chunks::of(100)?;
/// assert!(Chunks::of(0).is_err());
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Chunks {
    size: usize,
}

impl Chunks {
    /// Chunks of up to `size` results.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when `size` is zero.
    pub fn of(size: usize) -> Result<Self> {
        if size == 0 {
            return Err(Error::invalid_input("invalid chunk size 0: use 1 or more results"));
        }
        Ok(Self { size })
    }
}

impl Derivation for Chunks {
    fn start(&self, context: DerivationContext) -> Result<Box<dyn Deriver>> {
        Ok(Box::new(Chunking {
            context,
            size: self.size,
            numbered: HashMap::new(),
            others: Vec::new(),
        }))
    }

    fn reads_results(&self) -> bool {
        false
    }
}

struct Chunking {
    context: DerivationContext,
    size: usize,
    /// Chunks that are not complete, by stage and number.
    numbered: HashMap<(usize, u64), Vec<Member>>,
    others: Vec<Member>,
}

type Member = (Place, Payload);

impl Chunking {
    fn input(&self, name: &str, mut members: Vec<Member>) -> Result<Input> {
        members.sort_by(|(left, _), (right, _)| left.cmp(right));
        let stage = members.first().map_or(0, |((stage, _), _)| *stage);
        let id = match self.context.upstream.get(stage) {
            Some(upstream) if self.context.upstream.len() > 1 => format!("{upstream}/{name}"),
            _ => name.to_owned(),
        };
        let results = members.iter().map(|(_, result)| result).collect();
        let input = Input::new(InvocationId::from(id), lists([("results", results)])?);
        check_size(&self.context, &format!("chunk {:?}", input.id), &input, "use smaller chunks")?;
        Ok(input)
    }
}

/// Written as numbered inputs are.
fn numbered(chunk: u64) -> String {
    format!("{chunk:08}")
}

impl Deriver for Chunking {
    fn on_completion(&mut self, completion: &Completion) -> Result<Vec<Input>> {
        let place = place_of(&self.context, completion);
        let result = result_of(completion)?.clone();
        let Some(number) = number_of(completion.invocation.as_str()) else {
            self.others.push((place, result));
            return Ok(Vec::new());
        };
        let chunk = number / self.size as u64;
        let key = (place.0, chunk);
        let members = self.numbered.entry(key).or_default();
        members.push((place, result));
        if members.len() < self.size {
            return Ok(Vec::new());
        }
        let members = self.numbered.remove(&key).unwrap_or_default();
        Ok(vec![self.input(&numbered(chunk), members)?])
    }

    fn finish(&mut self) -> Result<Vec<Input>> {
        let mut chunks: Vec<_> = std::mem::take(&mut self.numbered).into_iter().collect();
        chunks.sort_by_key(|(key, _)| *key);
        let mut inputs = Vec::new();
        for ((_, chunk), members) in chunks {
            inputs.push(self.input(&numbered(chunk), members)?);
        }
        let mut others = std::mem::take(&mut self.others);
        others.sort_by(|(left, _), (right, _)| left.cmp(right));
        for of_stage in others.chunk_by(|((left, _), _), ((right, _), _)| left == right) {
            for (chunk, members) in of_stage.chunks(self.size).enumerate() {
                let name = format!("rest.{chunk:08}");
                inputs.push(self.input(&name, members.to_vec())?);
            }
        }
        Ok(inputs)
    }
}
