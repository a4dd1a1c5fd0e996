//! Objects that functions read, shuffle and write.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use falco_core::{
    Attempts, Capabilities, Completion, Derivation, DerivationContext, ErrorKind, Input, Outcome,
};
use falco_data::{DataPolicy, Exchange, Sink, Splits};
use futures_util::TryStreamExt;
use serde_json::{Value, json};

use super::suite::{Checked, Suite, equal, in_words, shown};

const TEXT: &str = "to be or not to be\nthat is the question\nwhether 'tis nobler in the mind \u{e4}\n\u{10000} no line end";

pub(super) async fn check(suite: &Suite) -> Checked {
    suite.s3.put("in/text.txt", TEXT);
    splits_are_read_exactly(suite).await?;
    calls_of_one_invocation_write_to_keys_of_their_own(suite).await?;
    words_are_counted_once(suite, Sink::scratch().partitions(3)).await?;
    words_are_counted_once(suite, Sink::scratch().partitions(3).gzip()).await?;
    suite.s3.fail_every(3);
    let counted = words_are_counted_once(suite, Sink::scratch().partitions(3)).await;
    suite.s3.fail_every(0);
    counted.map_err(|wrong| format!("with a store that fails: {wrong}"))?;
    an_object_that_is_not_there_is_named(suite).await?;
    an_expired_url_is_an_error_that_a_fresh_one_mends(suite).await
}

/// The inputs of a stage, with the task for the suite's function.
async fn inputs(suite: &Suite, sink: Option<Sink>, task: &str) -> Checked<Vec<Value>> {
    let splits = Splits::lines(&suite.input, "text.txt").target(30);
    let splits = match sink {
        Some(sink) => splits.with_sink(sink),
        None => splits,
    };
    let inputs: Vec<Input> = splits.inputs().try_collect().await.map_err(in_words("the splits"))?;
    inputs.iter().map(|input| argument(input, task)).collect()
}

fn argument(input: &Input, task: &str) -> Checked<Value> {
    let mut argument: Value = input.payload.parse().map_err(in_words("an input"))?;
    argument["do"] = task.into();
    Ok(argument)
}

async fn splits_are_read_exactly(suite: &Suite) -> Checked {
    let mut read = String::new();
    let inputs = inputs(suite, None, "read").await?;
    if inputs.len() < 3 {
        return Err(format!("there are only {} splits", inputs.len()));
    }
    for argument in inputs {
        let result = suite.value(&suite.data, &argument).await?;
        let text = result["text"].as_str().unwrap_or_default();
        equal("the split's length in bytes", &Some(text.len() as u64), &length(&argument))?;
        read += text;
    }
    equal("the text of all splits", &read.as_str(), &TEXT)
}

fn length(argument: &Value) -> Option<u64> {
    let range = &argument["input"]["falco:object"]["range"];
    Some(range[1].as_u64()? - range[0].as_u64()?)
}

async fn calls_of_one_invocation_write_to_keys_of_their_own(suite: &Suite) -> Checked {
    let argument = json!({"do": "write", "text": "w\u{e4}rm", "out": Sink::scratch()});
    let (first, second) =
        (suite.value(&suite.data, &argument).await?, suite.value(&suite.data, &argument).await?);
    if first["out"] == second["out"] {
        return Err(format!("two calls wrote {}", shown(&first["out"])));
    }
    for result in [&first, &second] {
        equal("what was written", &suite.written(result).await?.as_str(), &"w\u{e4}rm")?;
    }
    Ok(())
}

async fn words_are_counted_once(suite: &Suite, sink: Sink) -> Checked {
    let mut mapped = Vec::new();
    for argument in inputs(suite, Some(sink), "count").await? {
        let invocation = suite.invocation(&argument)?;
        let activation = suite.called(&suite.data, &argument).await?;
        let outcome = Outcome::Succeeded(activation.map_err(in_words("a mapper"))?);
        mapped.push(invocation.complete(outcome, Attempts::default(), UNIX_EPOCH, Duration::ZERO));
    }
    let mut counts = BTreeMap::new();
    for input in exchanged(&mapped).map_err(in_words("the exchange"))? {
        let result = suite.value(&suite.data, &argument(&input, "total")?).await?;
        let Some(part) = result["counts"].as_object() else {
            return Err(format!("a reducer returned {}", shown(&result)));
        };
        for (word, count) in part {
            if counts.insert(word.clone(), count.as_u64().unwrap_or(0)).is_some() {
                return Err(format!("two reducers counted {word:?}"));
            }
        }
    }
    let mut expected = BTreeMap::new();
    for word in TEXT.split_whitespace() {
        *expected.entry(word.to_owned()).or_default() += 1;
    }
    equal("the word count", &counts, &expected)
}

fn exchanged(mapped: &[Completion]) -> falco_core::Result<Vec<Input>> {
    let upstream = vec!["data".into()];
    let context = DerivationContext::new("reduce".into(), upstream, Capabilities::default());
    let mut deriver = Exchange::of_field("out").start(context)?;
    let mut inputs = Vec::new();
    for completion in mapped {
        inputs.extend(deriver.on_completion(completion)?);
    }
    inputs.extend(deriver.finish()?);
    Ok(inputs)
}

async fn an_object_that_is_not_there_is_named(suite: &Suite) -> Checked {
    let argument = json!({"do": "read", "input": suite.input.object("gone.txt")});
    let activation = suite.called(&suite.data, &argument).await?.map_err(in_words("a call"))?;
    let text = match &activation.outcome {
        Ok(result) => return Err(format!("a missing object was read: {result:?}")),
        Err(error) => format!("{error:#?}"),
    };
    match text.contains("gone.txt") && text.contains("ObjectMissing") && !text.contains("Signature")
    {
        true => Ok(()),
        false => Err(format!("a missing object is {text}")),
    }
}

async fn an_expired_url_is_an_error_that_a_fresh_one_mends(suite: &Suite) -> Checked {
    let short = suite.layer(DataPolicy::default().with_url_lifetime(Duration::from_secs(1)))?;
    let mut argument = json!({"do": "read_late", "input": suite.input.object("text.txt")});
    match suite.called(&short, &argument).await? {
        Ok(activation) => {
            return Err(format!("an expired URL gave {:?}", activation.outcome));
        }
        Err(error) => {
            let text = format!("{error:#?}");
            let is_repeated = error.kind() == ErrorKind::Timeout && error.is_retryable();
            if !is_repeated || !text.contains("text.txt") || text.contains("X-Amz-Signature") {
                return Err(format!("an expired URL is {text}"));
            }
        }
    }
    argument["do"] = "read".into();
    let result = suite.value(&suite.data, &argument).await?;
    equal("what a fresh URL reads", &result["text"], &TEXT.into())
}
