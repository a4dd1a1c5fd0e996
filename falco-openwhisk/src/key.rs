//! The key that requests carry. One that came from a file is read again when the server refuses it.

use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use falco_core::Result;
use falco_http::Secret;
use falco_http::reqwest::header::HeaderValue;

use crate::config::check_auth;
use crate::wskprops::WskProps;

/// The key that requests carry.
pub(crate) struct Key {
    /// The file that it came from, if it came from one.
    file: Option<PathBuf>,
    current: RwLock<Current>,
}

struct Current {
    auth: Secret,
    authorization: HeaderValue,
    /// Every key so far, in each form in which something may echo it.
    secrets: Vec<Secret>,
}

impl Key {
    pub(crate) fn new(auth: Secret, file: Option<PathBuf>) -> Result<Self> {
        let (authorization, secrets) = encode(&auth)?;
        Ok(Self { file, current: RwLock::new(Current { auth, authorization, secrets }) })
    }

    pub(crate) fn authorization(&self) -> HeaderValue {
        self.current.read().unwrap_or_else(PoisonError::into_inner).authorization.clone()
    }

    pub(crate) fn secrets(&self) -> Vec<Secret> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).secrets.clone()
    }

    /// Takes the key that is in the file now, if it is another one. What is not readable is being written.
    pub(crate) fn read_again(&self) {
        // A few lines: it takes no longer than a log line to a file.
        let Some(file) = &self.file else { return };
        let Some(auth) = WskProps::read(file).ok().and_then(|props| props.get("AUTH")) else {
            return;
        };
        if check_auth(&auth).is_err() {
            return;
        }
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.auth.expose() == auth.expose() {
            return;
        }
        let Ok((authorization, secrets)) = encode(&auth) else { return };
        current.auth = auth;
        current.authorization = authorization;
        current.secrets.extend(secrets);
        tracing::info!(file = %file.display(), "the server refused the key; another one was read");
    }
}

/// The header, and the forms in which something may echo the key.
fn encode(auth: &Secret) -> Result<(HeaderValue, Vec<Secret>)> {
    let basic = Secret::from(BASE64.encode(auth.expose()));
    let authorization = basic.to_header("Basic ")?;
    let key = auth.expose().split_once(':').map(|(_, key)| Secret::from(key));
    Ok((authorization, [basic].into_iter().chain(key).collect()))
}
