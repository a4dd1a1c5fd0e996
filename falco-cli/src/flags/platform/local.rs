//! This machine.

use std::sync::Arc;

use falco_core::AsyncPlatform;
use falco_local::LocalPlatform;

pub(super) async fn connect() -> anyhow::Result<Arc<dyn AsyncPlatform>> {
    Ok(Arc::new(LocalPlatform::from_env().await?))
}
