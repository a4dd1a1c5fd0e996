//! The typed front: a pipeline from splits to a complete output.

use std::sync::Arc;

use falco_core::Platform;
use falco_data::{
    DataPipeline, DataPolicy, Emitted, Exchange, Partitions, Sink, SplitInput, Splits, WroteObject,
    commit,
};
use falco_executors::typed::{Function, Pipeline};
use falco_executors::{DriverExt, ParallelExecutor, RunOptions};
use futures_util::TryStreamExt;

use crate::local::{COUNT_PYTHON, TOTAL_NODE, World};

#[tokio::test]
async fn a_typed_pipeline_shuffles_in_one_level_and_in_two_and_its_output_is_committed() {
    let count: Function<SplitInput, Emitted<u64>> = Function::python("count", COUNT_PYTHON);
    let total: Function<Partitions<u64>, WroteObject> = Function::nodejs("total", TOTAL_NODE);
    for two_levels in [false, true] {
        let world = World::new(&[("a.txt", "to be\nor not\nto be\n"), ("b.txt", "that is\n")]);
        let splits = Splits::lines(&world.input, "").target(8);
        let splits = splits.with_sink(Sink::scratch().partitions(3));
        let exchange = Exchange::of_field("out").with_sink(world.output.sink("part.tsv"));
        let mut pipeline = Pipeline::new("wordcount");
        let counts = pipeline.splits("map", splits, &count);
        let totals = match two_levels {
            true => pipeline.exchange_by_blocks("reduce", &counts, 2, exchange, &total).unwrap(),
            false => pipeline.exchange("reduce", &counts, exchange, &total),
        };
        let data = Arc::new(world.data(DataPolicy::default()));
        let options = RunOptions::new(data.clone(), Arc::new(ParallelExecutor::new()));
        let outcome = pipeline.run(options).await.unwrap();
        assert!(outcome.is_success(), "{}", outcome.report);
        let stages = if two_levels { 3 } else { 2 };
        assert_eq!(outcome.report.stages.len(), stages);

        let wrote: Vec<WroteObject> = outcome.results_of(&totals).unwrap();
        let results = outcome.results(totals.stage().as_str()).unwrap();
        let manifest = commit(&world.output, &outcome.report.run, results).await.unwrap();
        let urls: Vec<_> = wrote.iter().map(|it| &it.out.url).collect();
        assert_eq!(manifest.objects.iter().map(|it| &it.url).collect::<Vec<_>>(), urls);
        let mut lines = Vec::new();
        for WroteObject { out, .. } in &wrote {
            let pieces: Vec<_> = world.output.read(out).await.unwrap().try_collect().await.unwrap();
            lines.extend(String::from_utf8(pieces.concat()).unwrap().lines().map(str::to_owned));
        }
        lines.sort();
        assert_eq!(lines, ["be\t2", "is\t1", "not\t1", "or\t1", "that\t1", "to\t2"]);
        assert!(data.list_deployments().await.unwrap().is_empty());
    }
}
