//! The built-in derivations, without a run around them.

use std::time::{Duration, UNIX_EPOCH};

use falco_core::{
    Activation, Attempts, Capabilities, Completion, Derivation, DerivationContext, ErrorKind,
    Input, Invocation, Outcome, Payload, Result,
};
use falco_executors::{Chunks, FanIn, FanOut, Merge, OneToOne, Shuffle};
use proptest::prelude::*;
use serde_json::json as value;

use super::support::json;

fn completed(stage: &str, id: &str, result: Payload) -> Completion {
    let outcome = Outcome::Succeeded(Activation::succeeded("a", result));
    let invocation = Invocation::new("run", stage, id, Payload::empty());
    invocation.complete(outcome, Attempts::default(), UNIX_EPOCH, Duration::ZERO)
}

fn numbered(stage: &str, number: usize, result: serde_json::Value) -> Completion {
    completed(stage, &format!("{number:08}"), json(result))
}

fn context(upstream: &[&str], limit: Option<u64>) -> DerivationContext {
    let upstream = upstream.iter().map(|&name| name.into()).collect();
    let capabilities = Capabilities::default().with_max_payload(limit);
    DerivationContext::new("next".into(), upstream, capabilities)
}

/// All inputs, in the order in which they come.
fn derive(
    recipe: &dyn Derivation,
    from: &[&str],
    completions: &[Completion],
) -> Result<Vec<Input>> {
    derive_within(None, recipe, from, completions)
}

fn derive_within(
    limit: Option<u64>,
    recipe: &dyn Derivation,
    from: &[&str],
    completions: &[Completion],
) -> Result<Vec<Input>> {
    let mut derive = recipe.start(context(from, limit))?;
    let mut inputs = Vec::new();
    for completion in completions {
        inputs.extend(derive.on_completion(completion)?);
    }
    inputs.extend(derive.finish()?);
    Ok(inputs)
}

fn lines(inputs: Vec<Input>) -> Vec<String> {
    inputs.iter().map(|input| format!("{} {}", input.id, input.payload.as_str())).collect()
}

#[test]
fn one_to_one_keeps_the_parents_id_and_merge_names_its_stage() {
    let from_a = [numbered("a", 7, value!({"n": 7}))];
    assert_eq!(lines(derive(&OneToOne::new(), &["a"], &from_a).unwrap()), [r#"00000007 {"n":7}"#]);
    let both = [numbered("a", 7, value!({})), numbered("b", 7, value!({}))];
    assert_eq!(
        lines(derive(&Merge::new(), &["a", "b"], &both).unwrap()),
        ["a/00000007 {}", "b/00000007 {}"],
    );
    let error = derive(&OneToOne::new(), &["a", "b"], &both).unwrap_err();
    assert!(
        error.to_string().contains("\"next\"") && error.to_string().contains("Merge"),
        "{error}"
    );
}

#[test]
fn a_map_that_fails_names_stage_and_result() {
    let recipe = OneToOne::by(|result| result.parse::<Vec<u8>>().map(|_| Payload::empty()));
    let error = derive(&recipe, &["a"], &[numbered("a", 3, value!({}))]).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("\"next\"") && message.contains("\"00000003\""), "{message}");
}

#[test]
fn fan_out_appends_the_place_in_the_list() {
    let completions = [completed("a", "x", json(value!({"files": [{"f": 1}, {"f": 2}]})))];
    assert_eq!(
        lines(derive(&FanOut::of_field("files"), &["a"], &completions).unwrap()),
        [r#"x.0 {"f":1}"#, r#"x.1 {"f":2}"#],
    );
    let error = derive(&FanOut::of_field("pages"), &["a"], &completions).unwrap_err().to_string();
    assert!(error.contains("\"pages\"") && error.contains("\"x\""), "{error}");
}

#[test]
fn fan_in_sorts_by_stage_and_id() {
    let completions = [
        numbered("b", 0, value!({"n": 3})),
        numbered("a", 1, value!({"n": 2})),
        numbered("a", 0, value!({"n": 1})),
    ];
    assert_eq!(
        lines(derive(&FanIn::new(), &["a", "b"], &completions).unwrap()),
        [r#"00000000 {"results":[{"n":1},{"n":2},{"n":3}]}"#],
    );
    assert_eq!(
        lines(derive(&FanIn::named(["left", "right"]), &["a", "b"], &completions).unwrap()),
        [r#"00000000 {"left":[{"n":1},{"n":2}],"right":[{"n":3}]}"#],
    );
    assert_eq!(lines(derive(&FanIn::new(), &["a"], &[]).unwrap()), [r#"00000000 {"results":[]}"#]);
    let error = derive(&FanIn::named(["one"]), &["a", "b"], &[]).unwrap_err().to_string();
    assert!(error.contains("\"next\"") && error.contains("2 stages"), "{error}");
    let error = derive(&FanIn::named(["one", "one"]), &["a", "b"], &[]).unwrap_err().to_string();
    assert!(error.contains("\"one\""), "{error}");
}

#[test]
fn a_chunk_of_numbered_results_starts_as_soon_as_it_is_complete() {
    let recipe = Chunks::of(2).unwrap();
    let mut derive = recipe.start(context(&["a"], None)).unwrap();
    let mut on = |n| lines(derive.on_completion(&numbered("a", n, value!({ "n": n }))).unwrap());
    assert!(on(3).is_empty() && on(0).is_empty());
    assert_eq!(on(2), [r#"00000001 {"results":[{"n":2},{"n":3}]}"#]);
    assert!(on(4).is_empty());
    assert_eq!(on(1), [r#"00000000 {"results":[{"n":0},{"n":1}]}"#]);
    assert_eq!(lines(derive.finish().unwrap()), [r#"00000002 {"results":[{"n":4}]}"#]);
}

#[test]
fn results_without_a_number_are_chunked_in_the_order_of_their_ids() {
    let completions = ["c", "a", "b"].map(|id| completed("s", id, json(value!({ "id": id }))));
    assert_eq!(
        lines(derive(&Chunks::of(2).unwrap(), &["s"], &completions).unwrap()),
        [
            r#"rest.00000000 {"results":[{"id":"a"},{"id":"b"}]}"#,
            r#"rest.00000001 {"results":[{"id":"c"}]}"#,
        ],
    );
}

#[test]
fn a_shuffle_groups_by_key_and_keeps_the_order_of_ids() {
    let completions = [
        numbered("map", 1, value!({"pairs": [["x", 3], ["y", {"deep": [1.50]}], ["x", 4]]})),
        numbered("map", 0, value!({"pairs": {"x": 1, "ä\"": 2}})),
    ];
    let inputs = derive(&Shuffle::of_field("pairs", 1).unwrap(), &["map"], &completions).unwrap();
    assert_eq!(
        lines(inputs),
        [concat!(
            r#"00000000 {"partition":0,"#,
            r#""groups":{"x":[1,3,4],"y":[{"deep":[1.5]}],"ä\"":[2]}}"#
        )],
    );
}

#[test]
fn a_shuffle_by_the_users_own_keys_partitions_likewise() {
    let by_field = Shuffle::of_field("pairs", 5).unwrap();
    let by_hand = Shuffle::by(5, |result| {
        let pairs: std::collections::BTreeMap<String, Vec<(String, Payload)>> = result.parse()?;
        Ok(pairs.into_values().flatten().collect())
    })
    .unwrap();
    let pairs: Vec<_> = (0..50).map(|n| (format!("key {n}"), n)).collect();
    let completions = [numbered("map", 0, value!({ "pairs": pairs }))];
    let expected = lines(derive(&by_field, &["map"], &completions).unwrap());
    assert_eq!(expected.len(), 5);
    assert_eq!(lines(derive(&by_hand, &["map"], &completions).unwrap()), expected);
}

#[test]
fn a_group_over_the_limit_is_named_with_stage_and_limit_and_nothing_is_sent() {
    let small: Vec<_> = (0..50).map(|n| (format!("k{n}"), n)).collect();
    let completions = [
        numbered("map", 0, value!({ "pairs": small })),
        numbered("map", 1, value!({ "pairs": [["big", "x".repeat(2_000)]] })),
    ];
    let cases: [(&dyn Derivation, &str); 4] = [
        (&Shuffle::of_field("pairs", 4).unwrap(), "partition"),
        (&FanIn::new(), "fan-in of 2 results"),
        (&Chunks::of(2).unwrap(), "chunk \"00000000\""),
        (&OneToOne::new(), "input \"00000001\""),
    ];
    for (recipe, group) in cases {
        let error = derive_within(Some(1_000), recipe, &["map"], &completions).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PayloadTooLarge, "{error}");
        for part in ["stage \"next\"", group, "1000", "("] {
            assert!(error.to_string().contains(part), "{part} in {error}");
        }
    }
}

#[test]
fn results_of_the_wrong_shape_are_named() {
    for (result, part) in [
        (value!({"other": 1}), "\"pairs\""),
        (value!({"pairs": 1}), "list of pairs"),
        (value!({"pairs": [[1, 2]]}), "string"),
        (value!([]), "not a JSON object"),
    ] {
        let shuffle = Shuffle::of_field("pairs", 2).unwrap();
        let error = derive(&shuffle, &["map"], &[numbered("map", 9, result)]).unwrap_err();
        assert!(error.to_string().contains(part), "{part} in {error}");
        assert!(error.to_string().contains("\"00000009\""), "{error}");
    }
}

#[test]
fn groups_of_nothing_are_refused() {
    assert_eq!(Chunks::of(0).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(Shuffle::of_field("x", 0).unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// A result that every derivation under test can use.
fn any_result() -> impl Strategy<Value = serde_json::Value> {
    proptest::collection::vec(("[a-e]", 0..100u32), 0..6).prop_map(|pairs| {
        let items: Vec<_> = pairs.iter().map(|(_, n)| value!({ "n": n })).collect();
        value!({ "pairs": pairs, "items": items })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn ids_and_payloads_do_not_depend_on_the_order_of_arrival(
        (completions, shuffled) in proptest::collection::vec((any_result(), 0..2usize), 0..20)
            .prop_map(|results| {
                results.into_iter().enumerate().map(|(n, (result, kind))| match (n % 2, kind) {
                    (0, 0) => numbered("a", n, result),
                    (0, _) => completed("a", &format!("id-{n}"), json(result)),
                    _ => numbered("b", n, result),
                }).collect::<Vec<_>>()
            })
            .prop_flat_map(|completions| (Just(completions.clone()), Just(completions).prop_shuffle()))
    ) {
        let recipes: [&dyn Derivation; 6] = [
            &Merge::new(),
            &FanOut::of_field("items"),
            &FanIn::new(),
            &FanIn::named(["left", "right"]),
            &Chunks::of(3).unwrap(),
            &Shuffle::of_field("pairs", 4).unwrap(),
        ];
        for recipe in recipes {
            let mut in_order = lines(derive(recipe, &["a", "b"], &completions).unwrap());
            let mut as_it_came = lines(derive(recipe, &["a", "b"], &shuffled).unwrap());
            // Inputs that start early come in any order; what they are does not change.
            in_order.sort();
            as_it_came.sort();
            prop_assert_eq!(in_order, as_it_came, "{:?}", recipe);
        }
    }

    #[test]
    fn a_shuffle_loses_nothing_and_doubles_nothing(
        results in proptest::collection::vec(any_result(), 0..10),
        partitions in 1..20u32,
    ) {
        let completions: Vec<_> =
            results.iter().enumerate().map(|(n, result)| numbered("map", n, result.clone())).collect();
        let shuffle = Shuffle::of_field("pairs", partitions).unwrap();
        let mut found = Vec::new();
        for input in derive(&shuffle, &["map"], &completions).unwrap() {
            let argument: serde_json::Value = input.payload.parse().unwrap();
            prop_assert!(argument["partition"].as_u64().unwrap() < u64::from(partitions));
            for (key, values) in argument["groups"].as_object().unwrap() {
                found.extend(values.as_array().unwrap().iter().map(|v| (key.clone(), v.as_u64().unwrap())));
            }
        }
        let pairs = results.iter().flat_map(|result| result["pairs"].as_array().unwrap());
        let mut expected: Vec<_> = pairs
            .map(|pair| (pair[0].as_str().unwrap().to_owned(), pair[1].as_u64().unwrap()))
            .collect();
        expected.sort();
        found.sort();
        prop_assert_eq!(found, expected);
    }
}
