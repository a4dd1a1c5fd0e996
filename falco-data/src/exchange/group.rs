//! Partitions with their sizes, and which of them share an invocation.

use std::collections::BTreeSet;

use falco_core::{Completion, DerivationContext, Error, ErrorKind, InvocationId, Result};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::object::Object;
use crate::reference::{Part, PartsFields, spilled};

/// The output of one mapper.
#[derive(Debug)]
pub(super) struct Written {
    /// The place of its stage among those upstream, and its id: the order does not depend on the arrival.
    pub(super) place: (usize, InvocationId),
    url: String,
    /// The number of its first partition.
    first: u64,
    /// Where its partitions begin, and where the last ends.
    bounds: Vec<u64>,
    /// Whether its partitions are compressed.
    pub(super) gzip: bool,
}

impl Written {
    pub(super) fn of(
        context: &DerivationContext,
        completion: &Completion,
        field: &str,
        is_second: bool,
    ) -> Result<Self> {
        let wrong = |error: Error| {
            error.context(format_args!(
                "stage {:?} cannot use the result of {:?} in stage {:?}",
                context.stage, completion.invocation, completion.stage
            ))
        };
        let object = object(completion, field).map_err(wrong)?;
        let Some(lengths) = object.parts else {
            let error = Error::invalid_input(format!("{} has no partitions", object.url));
            return Err(wrong(error.with_hint("give the mapper a sink with partitions")));
        };
        let mut bounds = vec![0];
        bounds.extend(lengths.iter().scan(0_u64, |end, length| {
            *end += length;
            Some(*end)
        }));
        let stage = context.upstream.iter().position(|name| *name == completion.stage);
        let place = (stage.unwrap_or(usize::MAX), completion.invocation.clone());
        let first = if is_second { first(completion).map_err(wrong)? } else { 0 };
        Ok(Self { place, url: object.url, first, bounds, gzip: object.gzip })
    }

    fn end(&self) -> u64 {
        self.first + self.bounds.len() as u64 - 1
    }

    /// Where the partitions `from..to` begin and end, if it holds them.
    fn bounds(&self, from: u64, to: u64) -> Option<&[u64]> {
        let index = |partition: u64| usize::try_from(partition.checked_sub(self.first)?).ok();
        let bounds = self.bounds.get(index(from)?..=index(to)?)?;
        (bounds.first() < bounds.last()).then_some(bounds)
    }
}

fn object(completion: &Completion, field: &str) -> Result<Object> {
    let result = completion
        .result()
        .ok_or_else(|| Error::invalid_input("it has no result to derive from"))?;
    if spilled(result.as_str())?.is_some() {
        return Err(Error::invalid_input("it was spilled, and is a reference")
            .with_hint("set DataPolicy::fetch_results"));
    }
    let fields: std::collections::HashMap<&str, &RawValue> = result.parse()?;
    let Some(value) = fields.get(field) else {
        return Err(Error::invalid_input(format!("it has no field {field:?}")));
    };
    serde_json::from_str(value.get()).map_err(|error| {
        Error::invalid_input(format!("its field {field:?} is not an object that was written"))
            .with_source(&error)
            .with_hint("return what close() of the output returned")
    })
}

fn first(completion: &Completion) -> Result<u64> {
    #[derive(Deserialize)]
    struct Merged {
        first: u64,
    }

    let merged = completion.result().map(|result| result.parse::<Merged>());
    Ok(merged.transpose()?.map_or(0, |merged| merged.first))
}

/// Neighbouring partitions that share an invocation.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) from: u64,
    pub(super) to: u64,
    /// Ranges that its reducer reads.
    pub(super) requests: u64,
}

pub(super) fn group(
    context: &DerivationContext,
    written: &[Written],
    coalesce: u64,
    max_partition: Option<u64>,
) -> Result<Vec<Group>> {
    let partitions = written.iter().map(Written::end).max().unwrap_or(0);
    let begins_at_0 = |it: &&Written| it.first == 0 && it.end() != partitions;
    let is_second = written.iter().any(|it| it.first > 0);
    if !is_second && let Some(other) = written.iter().find(begins_at_0) {
        return Err(Error::invalid_input(format!(
            "stage {:?}: the objects have {partitions} and {} partitions, and all need the same number",
            context.stage,
            other.end()
        )));
    }
    check_compression(context, written)?;
    // A group lies within the same objects.
    let borders: BTreeSet<u64> = written.iter().flat_map(|it| [it.first, it.end()]).collect();
    let mut sizes = vec![0_u64; usize::try_from(partitions).unwrap_or(0)];
    for it in written {
        let sizes = sizes.iter_mut().skip(usize::try_from(it.first).unwrap_or(usize::MAX));
        for (size, bounds) in sizes.zip(it.bounds.windows(2)) {
            *size += bounds[1] - bounds[0];
        }
    }
    let mut groups: Vec<(Group, u64)> = Vec::new();
    for (partition, size) in (0..).zip(sizes) {
        if let Some(most) = max_partition.filter(|most| size > *most) {
            let message = format!(
                "stage {:?}: partition {partition} has {size} bytes, and {most} are allowed",
                context.stage
            );
            return Err(Error::new(ErrorKind::InvalidInput, message)
                .with_hint("use more partitions, or combine values in the stage before"));
        }
        if size == 0 {
            continue;
        }
        match groups.last_mut() {
            Some((last, total))
                if *total + size <= coalesce
                    && borders.range(last.from + 1..=partition).next().is_none() =>
            {
                last.to = partition + 1;
                *total += size;
            }
            _ => groups.push((Group { from: partition, to: partition + 1, requests: 0 }, size)),
        }
    }
    let counted = groups.into_iter().map(|(group, _)| {
        let reads = written.iter().filter(|it| it.bounds(group.from, group.to).is_some());
        Group { requests: reads.count() as u64, ..group }
    });
    Ok(counted.collect())
}

/// Objects of one stage become one list of parts, which is compressed or not.
fn check_compression(context: &DerivationContext, written: &[Written]) -> Result<()> {
    let differ =
        |pair: &&[Written]| pair[0].place.0 == pair[1].place.0 && pair[0].gzip != pair[1].gzip;
    let Some([one, other]) = written.windows(2).find(differ) else { return Ok(()) };
    let (packed, plain) = if one.gzip { (one, other) } else { (other, one) };
    Err(Error::invalid_input(format!(
        "stage {:?}: {} is compressed and {} is not, and all need the same",
        context.stage, packed.url, plain.url
    )))
}

/// The references to the partitions `from..to`, those without content left out.
pub(super) fn references<'a>(
    written: impl Iterator<Item = &'a Written>,
    from: u64,
    to: u64,
) -> PartsFields {
    let mut gzip = false;
    let found: Vec<(&str, &[u64])> = written
        .filter_map(|it| Some((it.bounds(from, to)?, it)))
        .map(|(bounds, it)| {
            gzip |= it.gzip;
            (&*it.url, bounds)
        })
        .collect();
    let base = common_folder(found.iter().map(|(url, _)| *url));
    let parts = found.iter().map(|(url, bounds)| Part {
        key: url[base.len() + 1..].to_owned(),
        bounds: bounds.to_vec(),
    });
    PartsFields { parts: parts.collect(), base: base.to_owned(), gzip }
}

/// The longest folder in which all URLs lie.
fn common_folder<'a>(mut urls: impl Iterator<Item = &'a str>) -> &'a str {
    let Some(first) = urls.next() else { return "" };
    let folder = |url: &'a str| &url[..url.rfind('/').unwrap_or(0)];
    let mut common = folder(first);
    for url in urls {
        while !crate::place::lies_in(url, common) {
            common = folder(common);
        }
    }
    common
}
