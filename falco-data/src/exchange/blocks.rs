//! The first of two levels: blocks of mappers times groups of partitions.

use std::sync::Arc;

use falco_core::{
    Completion, Deployable, Derivation, DerivationContext, Deriver, Error, Input, Payload, Result,
    Stage, StageName,
};
use serde_json::json;

use super::group::{Written, group, references};
use super::{checked, parts_json};
use crate::object::Sink;

/// The field in which a merged object says with which partition it begins.
const FIRST: &str = "first";

/// Merges the sorted lines of a block, partition by partition.
const MERGE: &str = r#"
def main(args):
    out = args["out"]
    for number, lines in enumerate(args["in"].sorted()):
        write = out.partition(number).write
        lines = iter(lines)
        first = next(lines, b"")
        if first and not first.startswith(b'["'):
            raise ValueError("only what emit wrote can be merged in two levels: use one, or emit keys with values")
        batch, size = [first], len(first)
        for line in lines:
            batch.append(line)
            size += len(line)
            if size > 1 << 16:
                write(b"".join(batch))
                batch, size = [], 0
        write(b"".join(batch))
    return {args["field"]: out.close(), "first": args["first"]}
"#;

pub(super) fn stage(after: StageName, field: &str, fan_in: u32) -> Result<Stage> {
    if fan_in < 2 {
        return Err(Error::invalid_input("two levels need a fan-in of 2 mappers or more"));
    }
    if field == FIRST {
        let message =
            format!("the field {FIRST:?} is taken where mappers are merged in two levels");
        return Err(Error::invalid_input(message).with_hint("return the object in another field"));
    }
    let name = format!("{after}-merge");
    let function = Deployable::python("falco-merge", MERGE);
    let blocks = Blocks { field: field.into(), fan_in: fan_in as usize };
    Ok(Stage::derived(name, function, [after], blocks).idempotent())
}

#[derive(Clone, Debug)]
struct Blocks {
    field: Arc<str>,
    fan_in: usize,
}

impl Derivation for Blocks {
    fn start(&self, context: DerivationContext) -> Result<Box<dyn Deriver>> {
        Ok(Box::new(Dividing { context, recipe: self.clone(), written: Vec::new() }))
    }

    fn is_barrier(&self) -> bool {
        true
    }
}

struct Dividing {
    context: DerivationContext,
    recipe: Blocks,
    written: Vec<Written>,
}

impl Deriver for Dividing {
    fn on_completion(&mut self, completion: &Completion) -> Result<Vec<Input>> {
        self.written.push(Written::of(&self.context, completion, &self.recipe.field, false)?);
        Ok(Vec::new())
    }

    fn finish(&mut self) -> Result<Vec<Input>> {
        let mut written = std::mem::take(&mut self.written);
        written.sort_by(|left, right| left.place.cmp(&right.place));
        // It finds objects with different numbers of partitions.
        let filled = group(&self.context, &written, 0, None)?;
        let Some(partitions) = filled.last().map(|group| group.to) else { return Ok(Vec::new()) };
        let blocks = written.chunks(self.recipe.fan_in);
        let width = partitions.div_ceil(blocks.len() as u64);
        let mut inputs = Vec::new();
        for block in blocks {
            for from in (0..partitions).step_by(usize::try_from(width).unwrap_or(usize::MAX)) {
                let to = (from + width).min(partitions);
                let parts = references(block.iter(), from, to);
                if parts.parts.is_empty() {
                    continue;
                }
                let width = u32::try_from(to - from).unwrap_or(u32::MAX);
                let out = Sink::scratch().partitions(width);
                let out = if parts.gzip { out.gzip() } else { out };
                let payload = Payload::json(&json!({
                    "in": parts_json(&parts),
                    "out": out,
                    "first": from,
                    "field": self.recipe.field,
                }))?;
                checked(&self.context, from, &payload)?;
                inputs.push(Input::numbered(inputs.len(), payload));
            }
        }
        Ok(inputs)
    }
}
