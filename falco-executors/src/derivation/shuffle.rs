//! Values grouped by key, keys spread over partitions.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use falco_core::{
    Completion, Derivation, DerivationContext, Deriver, Error, Input, Payload, Result,
};
use serde_json::value::RawValue;

use super::group::{Place, about, check_size, place_of, result_of, write_string};
use super::hash::stable_hash;
use super::pairs::{KeyedValues, field_of};

type Extract = dyn Fn(&Payload) -> Result<Vec<(String, Payload)>> + Send + Sync;

/// Groups the values that results hold by their keys, and spreads the keys over partitions: the shuffle of map and
/// reduce. It waits for all results.
///
/// Each partition that got a key is one invocation, whose id is the partition's number and whose argument is
///
/// ```json
/// {"partition": 3, "groups": {"apple": [1, 2], "pear": [7]}}
/// ```
///
/// with keys sorted, and the values of a key in the order of the ids upstream. Values pass through without being
/// parsed. What it needs in memory is about twice the sum of the results.
///
/// The partition of a key is the FNV-1a hash of 64 bits of its UTF-8 text, modulo the number of partitions. It is the
/// same in every run, on every machine and in every version, so that functions can rely on it:
///
/// ```python
/// def partition(key, partitions):
///     h = 0xcbf29ce484222325
///     for byte in key.encode():
///         h = (h ^ byte) * 0x100000001b3 % 2**64
///     return h % partitions
/// ```
///
/// # Examples
///
/// ```
/// use falco_core::{Deployable, Stage};
/// use falco_executors::Shuffle;
///
/// # let reduce = Deployable::from_source("f", "python:3".parse()?, "def main(args): return args");
/// // The map function returns {"counts": {"apple": 1, "pear": 7}}.
/// let reduce = Stage::derived("reduce", reduce, ["map"], Shuffle::of_field("counts", 16)?);
/// # Ok::<(), falco_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Shuffle {
    partitions: u32,
    pairs: Source,
}

#[derive(Clone)]
enum Source {
    Field(Arc<str>),
    By(Arc<Extract>),
}

impl Shuffle {
    /// Takes keys and values from a field of each result: an object `{"key": value, ..}`, or a list of pairs
    /// `[["key", value], ..]` where a key may come more than once.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when `partitions` is zero.
    pub fn of_field(field: impl Into<Arc<str>>, partitions: u32) -> Result<Self> {
        Self::new(partitions, Source::Field(field.into()))
    }

    /// Takes keys and values as `extract` finds them in a result. An error fails the stage.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when `partitions` is zero.
    pub fn by(
        partitions: u32,
        extract: impl Fn(&Payload) -> Result<Vec<(String, Payload)>> + Send + Sync + 'static,
    ) -> Result<Self> {
        Self::new(partitions, Source::By(Arc::new(extract)))
    }

    fn new(partitions: u32, pairs: Source) -> Result<Self> {
        if partitions == 0 {
            return Err(Error::invalid_input("a shuffle needs at least one partition"));
        }
        Ok(Self { partitions, pairs })
    }
}

impl fmt::Debug for Shuffle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shuffle").field("partitions", &self.partitions).finish_non_exhaustive()
    }
}

impl Derivation for Shuffle {
    fn start(&self, context: DerivationContext) -> Result<Box<dyn Deriver>> {
        Ok(Box::new(Shuffling { context, recipe: self.clone(), results: Vec::new() }))
    }

    fn is_barrier(&self) -> bool {
        true
    }
}

struct Shuffling {
    context: DerivationContext,
    recipe: Shuffle,
    results: Vec<Split>,
}

/// The pairs of one result, put into the order of the partitions as soon as it arrives, while others still run.
struct Split {
    place: Place,
    /// One JSON object a partition, one after the other.
    text: String,
    /// The partitions that got a pair, in order, and where their objects end.
    ends: Vec<(u32, usize)>,
}

impl Split {
    fn new(place: Place, partitions: u32, pairs: Vec<(Cow<'_, str>, &RawValue)>) -> Result<Self> {
        let partition = |key: &str| {
            let partition = stable_hash(key.as_bytes()) % u64::from(partitions);
            u32::try_from(partition).unwrap_or_default()
        };
        let mut pairs: Vec<_> =
            pairs.into_iter().map(|(key, value)| (partition(&key), key, value)).collect();
        // A stable sort: the values of a key stay in the order written.
        pairs.sort_by_key(|(partition, _, _)| *partition);
        let size: usize =
            pairs.iter().map(|(_, key, value)| key.len() + value.get().len() + 4).sum();
        let mut text = Vec::with_capacity(size + 1);
        let mut ends = Vec::new();
        for of_partition in pairs.chunk_by(|(left, _, _), (right, _, _)| left == right) {
            for (at, (_, key, value)) in of_partition.iter().enumerate() {
                text.push(if at == 0 { b'{' } else { b',' });
                write_string(&mut text, key);
                text.push(b':');
                text.extend_from_slice(value.get().as_bytes());
            }
            text.push(b'}');
            ends.extend(of_partition.first().map(|(partition, _, _)| (*partition, text.len())));
        }
        let text = String::from_utf8(text).map_err(|e| {
            Error::invalid_input("the shuffle's keys and values are not valid JSON").with_source(&e)
        })?;
        Ok(Self { place, text, ends })
    }

    fn range(&self, partition: u32) -> Option<Range<usize>> {
        let at = self.ends.binary_search_by_key(&partition, |(partition, _)| *partition).ok()?;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before].1);
        Some(start..self.ends[at].1)
    }
}

impl Shuffling {
    fn input(&self, partition: u32) -> Result<Option<Input>> {
        let mut groups: BTreeMap<Cow<'_, str>, Vec<&RawValue>> = BTreeMap::new();
        let mut size = 0;
        for split in &self.results {
            let Some(range) = split.range(partition) else { continue };
            size += range.len();
            for (key, value) in KeyedValues::parse(&split.text[range])?.0 {
                groups.entry(key).or_default().push(value);
            }
        }
        if groups.is_empty() {
            return Ok(None);
        }
        let mut json = Vec::with_capacity(size + 64);
        json.extend_from_slice(format!("{{\"partition\":{partition},\"groups\":").as_bytes());
        for (at, (key, values)) in groups.iter().enumerate() {
            json.push(if at == 0 { b'{' } else { b',' });
            write_string(&mut json, key);
            for (at, value) in values.iter().enumerate() {
                json.extend_from_slice(if at == 0 { b":[" } else { b"," });
                json.extend_from_slice(value.get().as_bytes());
            }
            json.push(b']');
        }
        json.extend_from_slice(b"}}");
        let input = Input::numbered(partition as usize, Payload::from_bytes(json)?);
        let hint = "use more partitions, or combine values in the stage before";
        check_size(&self.context, &format!("partition {partition}"), &input, hint)?;
        Ok(Some(input))
    }
}

impl Deriver for Shuffling {
    fn on_completion(&mut self, completion: &Completion) -> Result<Vec<Input>> {
        let (place, result) = (place_of(&self.context, completion), result_of(completion)?);
        let partitions = self.recipe.partitions;
        let split = match &self.recipe.pairs {
            Source::Field(field) => field_of(result, field)
                .and_then(|json| KeyedValues::parse(json.get()))
                .and_then(|pairs| Split::new(place, partitions, pairs.0)),
            Source::By(extract) => extract(result).and_then(|pairs| {
                let mut raw = Vec::with_capacity(pairs.len());
                for (key, value) in &pairs {
                    raw.push((Cow::Borrowed(key.as_str()), value.parse::<&RawValue>()?));
                }
                Split::new(place, partitions, raw)
            }),
        };
        self.results.push(split.map_err(|error| about(&self.context, completion, error))?);
        Ok(Vec::new())
    }

    fn finish(&mut self) -> Result<Vec<Input>> {
        self.results.sort_by(|left, right| left.place.cmp(&right.place));
        let inputs =
            (0..self.recipe.partitions).filter_map(|at| self.input(at).transpose()).collect();
        self.results.clear();
        inputs
    }
}
