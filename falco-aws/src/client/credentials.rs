//! Credentials, asked for once for all who wait.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use falco_core::{Error, ErrorKind, Result};

/// Temporary credentials are renewed so long before they expire.
const MARGIN: Duration = Duration::from_secs(300);

/// The credentials in use; each renewal is a new `Arc`, so that what was derived from the old ones can detect it.
pub(crate) struct CredentialsCache {
    provider: SharedCredentialsProvider,
    current: RwLock<Option<Arc<Credentials>>>,
    /// Held while the provider is asked: a caller that waits for it finds the new credentials behind it.
    renewal: tokio::sync::Mutex<()>,
}

impl CredentialsCache {
    pub(crate) fn new(provider: SharedCredentialsProvider) -> Self {
        Self { provider, current: RwLock::new(None), renewal: tokio::sync::Mutex::new(()) }
    }

    /// Credentials that are good for some minutes more.
    ///
    /// # Errors
    ///
    /// `Unauthorized` when the provider has none, with what it says.
    pub(crate) async fn get(&self) -> Result<Arc<Credentials>> {
        if let Some(credentials) = self.usable() {
            return Ok(credentials);
        }
        let _renewing = self.renewal.lock().await;
        if let Some(credentials) = self.usable() {
            return Ok(credentials);
        }
        self.renew().await.or_else(|failure| {
            // The provider may be away while AWS answers.
            let current = self.good_after(SystemTime::now()).ok_or(failure)?;
            tracing::warn!("credentials that expire soon could not be renewed yet");
            Ok(current)
        })
    }

    /// Other credentials than `refused`, which the service did not accept; the same ones when there are no others.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub(crate) async fn replace(&self, refused: &Arc<Credentials>) -> Result<Arc<Credentials>> {
        let _renewing = self.renewal.lock().await;
        match self.usable() {
            Some(other) if !Arc::ptr_eq(&other, refused) => Ok(other),
            _ => self.renew().await,
        }
    }

    async fn renew(&self) -> Result<Arc<Credentials>> {
        let fresh = self.provider.provide_credentials().await.map_err(|e| no_credentials(&e))?;
        let fresh = Arc::new(fresh);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(fresh.clone());
        Ok(fresh)
    }

    fn usable(&self) -> Option<Arc<Credentials>> {
        self.good_after(SystemTime::now() + MARGIN)
    }

    /// The credentials in use, if they are still good after `time`.
    fn good_after(&self, time: SystemTime) -> Option<Arc<Credentials>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        current.expiry().is_none_or(|expiry| expiry > time).then_some(current)
    }
}

fn no_credentials(error: &CredentialsError) -> Error {
    let described = Error::new(ErrorKind::Unauthorized, "no credentials for AWS")
        .with_platform(crate::NAME)
        .with_source(error);
    let asks_for_sso = described.causes().iter().any(|cause| {
        let cause = cause.to_ascii_lowercase();
        cause.contains("sso")
    });
    if asks_for_sso {
        return described.with_hint(if cfg!(feature = "sso") {
            "sign in with `aws sso login`; for another profile than the default, set AWS_PROFILE first"
        } else {
            "the profile uses IAM Identity Center (SSO): build falco-aws with its feature `sso`, \
             or put credentials into the environment with `aws configure export-credentials --format env`"
        });
    }
    described.with_hint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, and see `aws sts get-caller-identity`")
}

impl fmt::Debug for CredentialsCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialsCache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aws_credential_types::provider::{self, future};

    use super::*;

    /// Counts how often it is asked, and takes its time.
    #[derive(Debug, Default)]
    struct Counting {
        asked: Arc<AtomicUsize>,
        lifetime: Duration,
        /// How often it answers; then it has none.
        answers: Option<usize>,
    }

    impl Counting {
        async fn answer(&self) -> provider::Result {
            let nth = self.asked.fetch_add(1, Ordering::SeqCst);
            if self.answers.is_some_and(|answers| nth >= answers) {
                return Err(CredentialsError::not_loaded("nobody answers"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            let expiry = SystemTime::now() + self.lifetime;
            Ok(Credentials::new(format!("AKID{nth}"), "secret", None, Some(expiry), "test"))
        }
    }

    impl ProvideCredentials for Counting {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::new(self.answer())
        }
    }

    fn cache(lifetime: Duration) -> (Arc<CredentialsCache>, Arc<AtomicUsize>) {
        let provider = Counting { lifetime, ..Counting::default() };
        let asked = provider.asked.clone();
        (Arc::new(CredentialsCache::new(SharedCredentialsProvider::new(provider))), asked)
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_are_renewed_once_for_all_waiting_callers() {
        let (cache, asked) = cache(Duration::from_secs(3600));
        let waiting: Vec<_> = (0..50)
            .map(|_| {
                let cache = cache.clone();
                tokio::spawn(async move { cache.get().await })
            })
            .collect();
        for one in waiting {
            assert_eq!(one.await.unwrap().unwrap().access_key_id(), "AKID0");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn refused_credentials_are_replaced_once_for_all_refused_callers() {
        let (cache, asked) = cache(Duration::from_secs(3600));
        let refused = cache.get().await.unwrap();
        let replacing: Vec<_> = (0..20)
            .map(|_| {
                let (cache, refused) = (cache.clone(), refused.clone());
                tokio::spawn(async move { cache.replace(&refused).await })
            })
            .collect();
        for one in replacing {
            assert_eq!(one.await.unwrap().unwrap().access_key_id(), "AKID1");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_about_to_expire_are_renewed_before_they_do() {
        let (cache, _) = cache(MARGIN - Duration::from_secs(1));
        assert_eq!(cache.get().await.unwrap().access_key_id(), "AKID0");
        assert_eq!(cache.get().await.unwrap().access_key_id(), "AKID1");
    }
    #[tokio::test(start_paused = true)]
    async fn credentials_that_cannot_be_renewed_are_used_until_they_expire() {
        let lifetimes = [(MARGIN - Duration::from_secs(1), true), (Duration::ZERO, false)];
        for (lifetime, is_used) in lifetimes {
            let provider = Counting { lifetime, answers: Some(1), ..Counting::default() };
            let cache = CredentialsCache::new(SharedCredentialsProvider::new(provider));
            cache.get().await.unwrap();
            assert_eq!(cache.get().await.is_ok(), is_used, "{lifetime:?}");
        }
    }
}
