//! How the inputs of a stage follow from the results of others, and where functions write objects.

use std::sync::Arc;

use falco_cli::flags::open_store;
use falco_core::{Deployable, Stage};
use falco_data::{Exchange, Sink, Store};
use falco_executors::{Chunks, FanIn, FanOut, Merge, OneToOne, Shuffle};

use super::file::{Derivation, Described, ExchangeTable, NamedDerivation, StageTable};
use crate::commands::objects::{PART, Writing};

/// The place that the functions of a stage write objects to: a store that the stage names as its output, or the scratch store
/// where another stage shuffles what they write.
///
/// # Errors
///
/// When a stage has both, or is shuffled into different numbers of partitions.
pub(super) fn sink(described: &Described, table: &StageTable) -> anyhow::Result<Option<Sink>> {
    let output = output(described, table)?.map(|output| output.sink(PART));
    let mut shuffled = None;
    for other in &described.stages {
        let follows = other.after.iter().flat_map(|after| after.get_ref().all());
        let follows = follows.into_iter().any(|name| name == table.name.get_ref());
        let Some(derivation) = other.derivation.as_ref().filter(|_| follows) else { continue };
        let Derivation::Exchange(ExchangeTable { partitions, .. }) = derivation.get_ref() else {
            continue;
        };
        let (name, at) = (table.name.get_ref(), derivation.span());
        if output.is_some() {
            let what = format!("the stage {name:?} has an output, so that nothing can exchange it");
            return Err(described.error(&at, what));
        }
        if shuffled.is_some_and(|known| known != *partitions) {
            let what = format!("the stage {name:?} has another number of partitions already");
            return Err(described.error(&at, what));
        }
        shuffled = Some(*partitions);
    }
    Ok(output.or_else(|| shuffled.map(|partitions| Sink::scratch().partitions(partitions.get()))))
}

/// The store that a stage names as its output, if it is not a file.
///
/// # Errors
///
/// When it is not the URL of a known store, or the store is not configured.
pub(super) fn output(described: &Described, table: &StageTable) -> anyhow::Result<Option<Store>> {
    let Some(output) = &table.output else { return Ok(None) };
    let Some(url) = output.get_ref().to_str().filter(|url| url.contains("://")) else {
        return Ok(None);
    };
    open_store(url).map(Some).map_err(|error| described.error(&output.span(), error))
}

/// The stage, and one that merges what is exchanged in two levels.
///
/// # Errors
///
/// When a number in the file is not one that the derivation takes.
pub(super) fn derived(
    described: &Described,
    table: &StageTable,
    function: Deployable,
    upstream: &[&str],
) -> anyhow::Result<(Stage, Option<Stage>)> {
    let name = table.name.get_ref().as_str();
    let sink = sink(described, table)?;
    let Some(named) = &table.derivation else {
        let derivation = Writing { derivation: Arc::new(OneToOne::new()), sink };
        return Ok((Stage::derived(name, function, upstream.iter().copied(), derivation), None));
    };
    let failed = |error| described.error(&named.span(), error);
    let derivation: Arc<dyn falco_core::Derivation> = match named.get_ref() {
        Derivation::Named(NamedDerivation::OneToOne) => Arc::new(OneToOne::new()),
        Derivation::Named(NamedDerivation::FanIn) => Arc::new(FanIn::new()),
        Derivation::Named(NamedDerivation::Merge) => Arc::new(Merge::new()),
        Derivation::FanOut(table) => Arc::new(FanOut::of_field(table.fan_out.as_str())),
        Derivation::Chunks(table) => Arc::new(Chunks::of(table.chunks).map_err(failed)?),
        Derivation::Shuffle(table) => {
            let shuffle = Shuffle::of_field(table.shuffle.as_str(), table.partitions);
            Arc::new(shuffle.map_err(failed)?)
        }
        Derivation::Exchange(table) => {
            let exchange = Exchange::of_field(&table.exchange);
            let exchange = match sink {
                Some(sink) => exchange.with_sink(sink),
                None => exchange,
            };
            let exchange = match table.max_partition {
                Some(bytes) => exchange.max_partition(bytes),
                None => exchange,
            };
            let Some(fan_in) = table.fan_in else {
                return Ok((
                    Stage::derived(name, function, upstream.iter().copied(), exchange),
                    None,
                ));
            };
            let [before] = upstream else {
                let what = "an exchange in two levels follows one stage: leave out fan-in";
                return Err(described.error(&named.span(), what));
            };
            let (merge, exchange) = exchange.by_blocks(*before, fan_in).map_err(failed)?;
            let stage = Stage::derived(name, function, [merge.name.clone()], exchange);
            return Ok((stage, Some(merge)));
        }
    };
    let derivation = Writing { derivation, sink };
    Ok((Stage::derived(name, function, upstream.iter().copied(), derivation), None))
}
