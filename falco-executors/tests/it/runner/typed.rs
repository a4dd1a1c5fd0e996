//! Pipelines chained by types.

use std::collections::BTreeMap;
use std::sync::Arc;

use falco_core::{Driver, Payload};
use falco_executors::typed::{Both, Function, List, Pairs, Partition, Pipeline};
use falco_executors::{DriverExt, KeepResults};
use falco_testkit::{InMemory, Reply};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::support::{function, options};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Number {
    n: u64,
}

/// A function in Rust that does what one in Python would.
fn with<A: DeserializeOwned, R: Serialize>(
    platform: InMemory,
    name: &str,
    code: impl Fn(A) -> R + Send + Sync + 'static,
) -> InMemory {
    platform.with_source(name, move |call| {
        Reply::succeeded(Payload::json(&code(call.payload().parse().unwrap())).unwrap())
    })
}

fn typed<A, R>(name: &str) -> Function<A, R> {
    Function::new(function(name))
}

fn platform() -> InMemory {
    let platform = with(InMemory::default(), "square", |Number { n }| Number { n: n * n });
    let platform = with(platform, "sum", |list: List<Number>| Number {
        n: list.results.iter().map(|number| number.n).sum(),
    });
    let platform = with(platform, "parity", |Number { n }| {
        let key = if n.is_multiple_of(2) { "even" } else { "odd" };
        Pairs { pairs: BTreeMap::from([(key.to_owned(), n)]) }
    });
    let platform = with(platform, "count", |partition: Partition<u64>| Pairs {
        pairs: partition.groups.into_iter().map(|(key, values)| (key, values.len())).collect(),
    });
    with(platform, "join", |both: Both<Number, Pairs<usize>>| Number {
        n: both.left[0].n + both.right.len() as u64,
    })
}

#[tokio::test(start_paused = true)]
async fn results_come_back_with_the_types_of_their_functions() {
    let mut pipeline = Pipeline::new("typed");
    let square: Function<Number, Number> = typed("square");
    let sum: Function<List<Number>, Number> = typed("sum");
    let numbers = (0..10).map(|n| Number { n });
    let squares = pipeline.inputs("squares", &square, numbers).unwrap();
    let fourths = pipeline.then("fourths", &squares, &square);
    let halves =
        pipeline.then_map("halves", &squares, |number| Number { n: number.n / 2 }, &square);
    let ones = |number: Number| vec![Number { n: 1 }; number.n as usize];
    let many = pipeline.fan_out("many", &squares, ones, &square);
    let in_chunks = pipeline.chunks("chunks", &squares, 4, &sum).unwrap();
    let total = pipeline.fan_in("total", &many, &sum);
    let merged =
        pipeline.merge("merged", [&fourths, &halves], &typed::<Number, Pairs<u64>>("parity"));
    let count: Function<Partition<u64>, Pairs<usize>> = typed("count");
    let parities = pipeline.shuffle("parities", &merged, 4, &count).unwrap();
    let joined = pipeline.join("joined", &total, &parities, &typed("join"));
    let lazily = pipeline.inputs_until("lazily", &square, |index| {
        (index < 3).then_some(Ok(Number { n: index as u64 }))
    });

    let stages = pipeline.plan().unwrap().stages().iter().map(|stage| stage.name.clone()).collect();
    let options = options(&Arc::new(platform())).with_kept_results(KeepResults::Stages(stages));
    let outcome = pipeline.run(options).await.unwrap();
    assert!(outcome.is_success(), "{:?}", outcome.error());

    let n = |numbers: Vec<Number>| numbers.into_iter().map(|number| number.n).collect::<Vec<_>>();
    assert_eq!(n(outcome.results_of(&squares).unwrap()), [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]);
    assert_eq!(n(outcome.results_of(&fourths).unwrap())[9], 81 * 81);
    assert_eq!(n(outcome.results_of(&halves).unwrap())[9], 40 * 40);
    assert_eq!(n(outcome.results_of(&in_chunks).unwrap()), [14, 126, 145]);
    assert_eq!(n(outcome.results_of(&total).unwrap()), [285]);
    assert_eq!(n(outcome.results_of(&joined).unwrap()), [287]);
    assert_eq!(n(outcome.results_of(&lazily).unwrap()), [0, 1, 4]);
    let counts: BTreeMap<String, usize> =
        outcome.results_of(&parities).unwrap().into_iter().flat_map(|pairs| pairs.pairs).collect();
    assert_eq!(counts.values().sum::<usize>(), 20);
}

#[test]
fn settings_of_a_function_reach_its_stages() {
    let deadline = std::time::Duration::from_secs(7);
    let square = typed::<Number, Number>("square").idempotent().with_deadline(deadline);
    let mut pipeline = Pipeline::new("typed");
    let first = pipeline.inputs("first", &square, [Number { n: 1 }]).unwrap();
    pipeline.then("second", &first, &square);
    for stage in pipeline.plan().unwrap().stages() {
        assert!(stage.idempotent && stage.deadline == Some(deadline), "{stage:?}");
    }
}
