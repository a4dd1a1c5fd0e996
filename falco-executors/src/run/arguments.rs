//! Whether a platform can store the arguments of a stage's function.

use falco_core::{Capabilities, Error, ErrorKind, Result, Stage};

use super::batches::WITH_SHIM;

/// Checks the arguments of a stage, before anything is sent.
///
/// # Errors
///
/// `PayloadTooLarge` for what is over the limit of code; `Unsupported` where the
/// platform or the runtime has nothing that merges them into a payload. Both name the stage. The plan has checked that
/// they are an object.
pub(super) fn check(stage: &Stage, capabilities: &Capabilities) -> Result<()> {
    let Some(arguments) = &stage.function.arguments else { return Ok(()) };
    let (name, runtime) = (&stage.name, &stage.function.runtime);
    let (length, limit) = (arguments.len() as u64, capabilities.for_runtime(runtime).max_code);
    if let Some(limit) = limit.filter(|limit| length > *limit) {
        let message = format!(
            "the arguments of stage {name:?} have {length} bytes, and {limit} are allowed for code"
        );
        return Err(Error::new(ErrorKind::PayloadTooLarge, message)
            .with_hint("put what is large into a store, and its reference into the arguments"));
    }
    // An executable without an entry point is not one of falco-function's, and knows of no arguments.
    let family = runtime.family();
    let is_executable = family == "native" && stage.function.entry_point.is_none();
    let merges = capabilities.shim && WITH_SHIM.contains(&family) && !is_executable;
    if merges || capabilities.bound_arguments {
        return Ok(());
    }
    let without = match capabilities.shim {
        true => format!("runtime {runtime}"),
        false => "this platform".to_owned(),
    };
    Err(Error::unsupported(format!(
        "stage {name:?} stores arguments with its function, and functions on {without} do not take them"
    ))
    .with_hint("put them into each payload"))
}
