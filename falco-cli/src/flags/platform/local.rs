//! This machine.

use std::sync::Arc;

use falco_core::AsyncPlatform;
use falco_local::{LocalConfig, LocalPlatform};

pub(super) fn connect() -> anyhow::Result<Arc<dyn AsyncPlatform>> {
    Ok(Arc::new(LocalPlatform::new(LocalConfig::from_env()?)?))
}
