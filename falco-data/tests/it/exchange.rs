//! The shuffle's derivation, without a run around it.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use falco_core::{
    Activation, Attempts, Capabilities, Completion, Derivation, DerivationContext, ErrorKind,
    Input, Invocation, Outcome, Payload, Result,
};
use falco_data::Exchange;
use proptest::prelude::*;
use serde_json::{Value, json};

/// The result of a mapper, whose partitions have these lengths.
fn mapped(number: usize, lengths: &[u64], gzip: bool) -> Completion {
    let url = format!("s3://scratch/runs/r/map/{:x}/{number:08}-1-ab", number % 16);
    let size: u64 = lengths.iter().sum();
    let mut object = json!({"url": url, "size": size, "parts": lengths});
    if gzip {
        object["gzip"] = true.into();
    }
    let result = Payload::json(&json!({"out": {"falco:object": object}})).unwrap();
    let outcome = Outcome::Succeeded(Activation::succeeded("a", result));
    let invocation = Invocation::new("r", "map", format!("{number:08}"), Payload::empty());
    invocation.complete(outcome, Attempts::default(), UNIX_EPOCH, Duration::ZERO)
}

fn derive(recipe: &dyn Derivation, completions: &[Completion]) -> Result<Vec<Input>> {
    let capabilities = Capabilities::default().with_max_payload(Some(1 << 20));
    let context = DerivationContext::new("reduce".into(), vec!["map".into()], capabilities);
    let mut deriver = recipe.start(context)?;
    let mut inputs = Vec::new();
    for completion in completions {
        inputs.extend(deriver.on_completion(completion)?);
    }
    inputs.extend(deriver.finish()?);
    Ok(inputs)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_goes_to_one_reducer_whatever_the_order_of_arrival(
        lengths in (1_usize..9).prop_flat_map(|partitions| {
            prop::collection::vec(prop::collection::vec(0_u64..50, partitions), 1..12)
        }).prop_flat_map(|lengths| {
            let order: Vec<usize> = (0..lengths.len()).collect();
            (Just(lengths), Just(order).prop_shuffle())
        }),
        coalesce in 0_u64..200,
    ) {
        let (lengths, order) = lengths;
        let completions: Vec<_> = order.iter().map(|at| mapped(*at, &lengths[*at], false)).collect();
        let exchange = Exchange::of_field("out").coalesce(coalesce);
        let inputs = derive(&exchange, &completions).unwrap();
        let mut sorted = completions;
        sorted.sort_by(|left, right| left.invocation.cmp(&right.invocation));
        let again = derive(&exchange, &sorted).unwrap();
        prop_assert_eq!(inputs.len(), again.len());
        let mut read = BTreeMap::new();
        let mut last = None;
        for (input, same) in inputs.iter().zip(&again) {
            prop_assert_eq!((&input.id, &input.payload), (&same.id, &same.payload));
            let argument: Value = input.payload.parse().unwrap();
            let partition = argument["partition"].as_u64().unwrap();
            let count = argument["partitions"].as_u64().unwrap();
            prop_assert!(last.is_none_or(|last| partition >= last));
            last = Some(partition + count);
            let parts = &argument["in"]["falco:parts"];
            let mut total = 0;
            for part in parts["parts"].as_array().unwrap() {
                let key = part[0].as_str().unwrap();
                let bounds: Vec<u64> = part.as_array().unwrap()[1..].iter().map(|it| it.as_u64().unwrap()).collect();
                prop_assert_eq!(bounds.len() as u64, count + 1);
                let number: usize = key.rsplit('/').next().unwrap()[..8].parse().unwrap();
                for (at, pair) in bounds.windows(2).enumerate() {
                    let first: u64 = lengths[number][..partition as usize + at].iter().sum();
                    prop_assert_eq!(pair[0], first);
                    total += pair[1] - pair[0];
                    prop_assert!(read.insert((number, partition as usize + at), pair[1] - pair[0]).is_none());
                }
            }
            prop_assert!(total > 0, "an empty reducer");
            prop_assert!(count == 1 || total <= coalesce);
        }
        for (number, lengths) in lengths.iter().enumerate() {
            for (partition, length) in lengths.iter().enumerate() {
                prop_assert_eq!(read.get(&(number, partition)).copied().unwrap_or(0), *length);
            }
        }
    }
}

#[test]
fn a_partition_that_is_too_large_fails_the_stage_by_name_before_a_reducer_starts() {
    let completions = [mapped(0, &[10, 60], false), mapped(1, &[0, 60], false)];
    assert_eq!(
        derive(&Exchange::of_field("out").max_partition(120), &completions).unwrap().len(),
        2
    );
    let error = derive(&Exchange::of_field("out").max_partition(119), &completions).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let text = error.to_string();
    assert!(
        text.contains("stage \"reduce\": partition 1 has 120 bytes, and 119 are allowed"),
        "{text}"
    );
    assert!(text.contains("use more partitions"), "{text}");
}

#[test]
fn too_many_requests_are_refused_with_their_price() {
    let completions: Vec<_> = (0..500).map(|number| mapped(number, &[1; 500], false)).collect();
    let error = derive(&Exchange::of_field("out"), &completions).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let text = error.to_string();
    for words in ["250000 ranges", "200000 are allowed", "$0.10", "45 s", "Exchange::two_level"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let allowed = Exchange::of_field("out").max_requests(250_000);
    assert_eq!(derive(&allowed, &completions).unwrap().len(), 500);
    // Empty partitions are not read.
    let empty: Vec<_> = (0..500).map(|number| mapped(number, &[0; 500], false)).collect();
    assert!(derive(&Exchange::of_field("out"), &empty).unwrap().is_empty());
}

#[test]
fn objects_that_do_not_fit_together_are_refused_by_name() {
    for (other, words) in [
        (mapped(1, &[1, 2, 3], false), "have 3 and 2 partitions"),
        (mapped(1, &[1, 2], true), "00000001-1-ab is compressed and"),
    ] {
        let error = derive(&Exchange::of_field("out"), &[mapped(0, &[1, 2], false), other]);
        let text = error.unwrap_err().to_string();
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn stages_and_fields_that_an_argument_or_a_result_has_already_are_refused_by_name() {
    for (upstream, is_taken) in [
        (vec!["map", "out"], Some("out")),
        (vec!["partition", "map"], Some("partition")),
        (vec!["partitions", "map"], Some("partitions")),
        (vec!["left", "right"], None),
        // The parts of an only stage are in the field `in`.
        (vec!["out"], None),
    ] {
        let upstream = upstream.into_iter().map(Into::into).collect();
        let context = DerivationContext::new("reduce".into(), upstream, Capabilities::default());
        let started = Exchange::of_field("out").start(context);
        assert_eq!(started.is_err(), is_taken.is_some());
        if let (Err(error), Some(name)) = (started, is_taken) {
            let text = error.to_string();
            assert!(
                text.contains(&format!("\"reduce\" cannot follow a stage named {name:?}")),
                "{text}"
            );
            assert!(text.contains("rename that stage"), "{text}");
        }
    }
    let error = Exchange::two_level("map", "first", 2).unwrap_err().to_string();
    assert!(error.contains("the field \"first\" is taken"), "{error}");
}
