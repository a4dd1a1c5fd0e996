//! Values that are too long for a platform, and calls at once.

use falco_core::{AsyncPlatform, Invocation, Payload};
use falco_data::{DataPolicy, Object, Sink};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::suite::{Checked, Layer, PATIENCE, Suite, equal, in_words, shown, succeeded};

/// A number that no language may change.
const EXACT: &str = "1.5";

/// Calls at once.
const CALLS: usize = 16;

pub(super) async fn check(suite: &Suite) -> Checked {
    let short = json!({"do": "repeat", "text": "short", "times": 2, "exact": 1.5});
    equal(
        "a short result",
        &suite.value(&suite.data, &short).await?["text"],
        &"shortshort".into(),
    )?;
    equal("the number of spilled values", &spilled(suite), &0)?;

    // Beyond the policy's limit, and beyond the platform's own.
    let inline = suite.layer(DataPolicy::default().with_inline(1000))?;
    is_repeated(suite, &inline, 2000, false).await?;
    let capabilities = suite.deployed_capabilities();
    if let Some(most) = capabilities.max_payload {
        is_repeated(suite, &suite.data, most, false).await?;
    }
    if capabilities.submit {
        is_repeated(suite, &inline, 2000, true).await?;
    }
    Ok(())
}

/// How many arguments and results lie in the scratch store.
fn spilled(suite: &Suite) -> usize {
    let objects = suite.s3.objects("scratch").into_iter();
    objects.filter(|(key, _)| key.ends_with("-argument") || key.ends_with("-result")).count()
}

/// A text of this length comes back twice, and both values went through the store.
async fn is_repeated(suite: &Suite, data: &Layer, length: u64, submits: bool) -> Checked {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let text = "\u{e4}".repeat(length / 2 + 1);
    let argument = json!({"do": "repeat", "text": text, "times": 2, "exact": 1.5});
    let before = spilled(suite);
    let result = match submits {
        false => suite.result(data, &argument).await?,
        true => submitted(suite, data, &argument).await?,
    };
    if !result.as_str().starts_with(r#"{"falco:value":"#) {
        return Err(format!("{length} bytes were not spilled: {result:?}"));
    }
    let value = data.value(&result).await.map_err(in_words("a spilled result"))?;
    if !value.as_str().contains(EXACT) {
        return Err("a number has changed on its way through the store".to_owned());
    }
    let value: Value = value.parse().map_err(in_words("a spilled result"))?;
    equal("the text", &value["text"], &text.repeat(2).into())?;
    equal("the number of spilled values", &(spilled(suite) - before), &2)
}

async fn submitted(suite: &Suite, data: &Layer, argument: &Value) -> Checked<Payload> {
    let invocation: Invocation = suite.invocation(argument)?;
    let call = async {
        let pending = data.submit(&suite.deployment, &invocation).await?;
        loop {
            let pending = std::slice::from_ref(&pending);
            let collected = data.collect(&suite.deployment, pending).await?;
            if let Some((_, error)) = collected.gone.into_iter().next() {
                return Err(error);
            }
            if let Some(activation) = collected.finished.into_iter().next() {
                return Ok(activation);
            }
            sleep(collected.poll_after).await;
        }
    };
    let late = |_| format!("no answer to {} within {PATIENCE:?}", shown(argument));
    let activation = timeout(PATIENCE, call).await.map_err(late)?;
    succeeded(argument, activation.map_err(in_words("a submission"))?.outcome)
}

pub(super) async fn check_at_once(suite: &Suite) -> Checked {
    let inline = suite.layer(DataPolicy::default().with_inline(1000))?;
    let inline = &inline;
    let calls = (0..CALLS).map(|number| async move {
        // Text of its own, so that an answer of another call shows.
        let number = number.to_string();
        let (content, text) = (format!("{number}-").repeat(400), format!("{number}+").repeat(400));
        let key = format!("{number}.txt");
        suite.s3.put(&format!("in/{key}"), &content);
        let object: Object = suite.input.object(&key);
        let argument = json!({"do": "all", "input": object, "out": Sink::scratch(), "text": text});
        let result = suite.value(inline, &argument).await?;
        equal("the result", &result["text"], &(content.clone() + &text).into())?;
        equal("the object", &suite.written(&result).await?, &content)
    });
    try_join_all(calls).await?;
    equal("the number of spilled values", &spilled(suite), &(2 * CALLS))
}
