//! Helpers of derivations: where a completion comes from, its sort key, and payloads made of results.

use falco_core::{
    Completion, DerivationContext, Error, ErrorKind, Input, InvocationId, Payload, Result,
};

/// The place of a result among all results upstream, whenever it arrives: the stage's place in the list of upstream
/// stages, then the id.
pub(super) type Place = (usize, InvocationId);

pub(super) fn place_of(context: &DerivationContext, completion: &Completion) -> Place {
    let stage = context.upstream.iter().position(|name| *name == completion.stage);
    (stage.unwrap_or(usize::MAX), completion.invocation.clone())
}

/// The id of what follows from one completion: the parent's, prefixed by its stage when there are several upstream.
pub(super) fn id_of(context: &DerivationContext, completion: &Completion) -> InvocationId {
    match context.upstream.len() {
        1 => completion.invocation.clone(),
        _ => InvocationId::from(format!("{}/{}", completion.stage, completion.invocation)),
    }
}

/// The result of a completion that succeeded.
pub(super) fn result_of(completion: &Completion) -> Result<&Payload> {
    completion.result().ok_or_else(|| {
        Error::invalid_input(format!("{:?} has no result to derive from", completion.invocation))
    })
}

/// Names the result and the stage that an error is about.
pub(super) fn about(context: &DerivationContext, completion: &Completion, error: Error) -> Error {
    error.context(format_args!(
        "stage {:?} cannot use the result of {:?} in stage {:?}",
        context.stage, completion.invocation, completion.stage
    ))
}

/// Checks a group against the platform's limit, before anything of it is sent.
pub(super) fn check_size(
    context: &DerivationContext,
    group: &str,
    input: &Input,
    hint: &str,
) -> Result<()> {
    let size = input.payload.len() as u64;
    match context.max_payload() {
        Some(limit) if size > limit => Err(Error::new(
            ErrorKind::PayloadTooLarge,
            format!(
                "stage {:?}: {group} has {size} bytes, and the platform takes {limit}",
                context.stage
            ),
        )
        .with_hint(hint)),
        _ => Ok(()),
    }
}

/// `{"FIELD":[r1,r2,..],..}`, the results as they are.
pub(super) fn lists<'a>(
    fields: impl IntoIterator<Item = (&'a str, Vec<&'a Payload>)>,
) -> Result<Payload> {
    let mut json = Vec::new();
    for (name, results) in fields {
        json.push(if json.is_empty() { b'{' } else { b',' });
        write_string(&mut json, name);
        json.extend_from_slice(b":[");
        json.reserve(results.iter().map(|result| result.len() + 1).sum());
        for (at, result) in results.iter().enumerate() {
            if at > 0 {
                json.push(b',');
            }
            json.extend_from_slice(result.as_str().as_bytes());
        }
        json.push(b']');
    }
    json.push(b'}');
    Payload::from_bytes(json)
}

/// Writes `text` as a JSON string.
pub(super) fn write_string(json: &mut Vec<u8>, text: &str) {
    // Writing a string into memory cannot fail.
    let _ = serde_json::to_writer(json, text);
}
