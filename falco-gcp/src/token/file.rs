//! Tokens by a credentials file that somebody may renew during a run.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use falco_core::{ErrorKind, Result};

use super::{Token, TokenSource};
use crate::config::{Credentials, Endpoints};
use crate::http::Http;

/// The source that the file describes now. The file is read again when Google refuses what it held before.
#[derive(Debug)]
pub(super) struct FileSource {
    path: PathBuf,
    current: RwLock<Arc<dyn TokenSource>>,
    endpoints: Endpoints,
    http: Http,
}

impl FileSource {
    pub(super) fn new(
        path: PathBuf,
        content: Arc<dyn TokenSource>,
        endpoints: Endpoints,
        http: Http,
    ) -> Self {
        Self { path, current: RwLock::new(content), endpoints, http }
    }

    fn current(&self) -> Arc<dyn TokenSource> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The source that the file describes now; `None` while it cannot be read, as when it is being written.
    fn read_again(&self) -> Option<Arc<dyn TokenSource>> {
        let Ok(Credentials::File { content, .. }) = Credentials::from_file(&self.path) else {
            return None;
        };
        let fresh = super::source(&content, &self.endpoints, &self.http).ok()?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&fresh);
        Some(fresh)
    }
}

#[async_trait]
impl TokenSource for FileSource {
    async fn access_token(&self) -> Result<Token> {
        match self.current().access_token().await {
            Err(error) if error.kind() == ErrorKind::Unauthorized => match self.read_again() {
                Some(fresh) => fresh.access_token().await,
                None => Err(error),
            },
            answer => answer,
        }
    }

    async fn id_token(&self, audience: &str) -> Result<Token> {
        match self.current().id_token(audience).await {
            Err(error) if error.kind() == ErrorKind::Unauthorized => match self.read_again() {
                Some(fresh) => fresh.id_token(audience).await,
                None => Err(error),
            },
            answer => answer,
        }
    }

    async fn email(&self) -> Result<String> {
        self.current().email().await
    }
}
