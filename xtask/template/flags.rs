//! {{title}}.

use super::inspect::{Inspected, by_variable, sources, variable};

/// Where the settings were found: add a struct of flags, as beside this file, for those that a user sets on the command line.
pub(super) fn inspect() -> Inspected {
    Inspected {
        credentials: Some(sources([by_variable("{{NAME}}_TOKEN")])),
        region: None,
        // A URL with a user holds a password, too: connecting refuses it, and nobody shows it.
        endpoint: variable("{{NAME}}_ENDPOINT").filter(|url| !url.contains('@')),
    }
}

#[cfg(feature = "{{name}}")]
pub(super) async fn connect() -> anyhow::Result<std::sync::Arc<dyn falco_core::AsyncPlatform>> {
    Ok(std::sync::Arc::new(falco_{{name}}::{{Name}}::from_env().await?))
}
