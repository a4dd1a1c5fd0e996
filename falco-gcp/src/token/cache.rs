//! Tokens are kept until shortly before they expire, and one request refreshes them for all who wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use falco_core::Result;
use tokio::time::Instant;

use super::{Token, TokenSource};

/// How long before its end a token is replaced: google-auth's margin, for the clocks of both sides and the time
/// that a request is under way. A quarter of a short-lived token's life, so that it is not asked for all the time.
const MARGIN: Duration = Duration::from_secs(225);

/// The tokens of one source.
#[derive(Debug)]
pub(crate) struct TokenCache {
    source: Arc<dyn TokenSource>,
    access: Slot,
    /// By audience; there are as many as functions.
    ids: Mutex<HashMap<String, Arc<Slot>>>,
}

impl TokenCache {
    pub(crate) fn new(source: Arc<dyn TokenSource>) -> Self {
        Self { source, access: Slot::default(), ids: Mutex::default() }
    }

    pub(crate) async fn access_token(&self) -> Result<Token> {
        self.access.get(|| self.source.access_token()).await
    }

    pub(crate) async fn id_token(&self, audience: &str) -> Result<Token> {
        self.id_slot(audience).get(|| self.source.id_token(audience)).await
    }

    pub(crate) async fn email(&self) -> Result<String> {
        self.source.email().await
    }

    /// Forgets `token`, which was refused, unless it has been replaced already.
    pub(crate) fn forget_access(&self, token: &Token) {
        self.access.forget(token);
    }

    /// Forgets `token` for `audience`, which was refused, unless it has been replaced already.
    pub(crate) fn forget_id(&self, audience: &str, token: &Token) {
        self.id_slot(audience).forget(token);
    }

    /// Forgets the tokens of a function that is gone.
    pub(crate) fn forget_audience(&self, audience: &str) {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).remove(audience);
    }

    fn id_slot(&self, audience: &str) -> Arc<Slot> {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = ids.get(audience) {
            return Arc::clone(slot);
        }
        Arc::clone(ids.entry(audience.to_owned()).or_default())
    }
}

/// One token.
#[derive(Debug, Default)]
struct Slot {
    /// Read by every call; never held across an await.
    state: Mutex<State>,
    /// Held by the caller that asks for a new one. A dropped holder lets the next waiting caller ask.
    refreshing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    kept: Option<Kept>,
    /// How many requests have ended, so that a caller who waited for one takes over what it brought.
    requests: u64,
    last_error: Option<falco_core::Error>,
}

#[derive(Clone, Debug)]
struct Kept {
    token: Token,
    refresh_at: Instant,
    expires_at: Instant,
}

impl Slot {
    async fn get<F, R>(&self, fetch: F) -> Result<Token>
    where
        F: FnOnce() -> R,
        R: Future<Output = Result<Token>>,
    {
        let now = Instant::now();
        let (kept, seen) = {
            let state = self.state();
            (state.kept.clone().filter(|kept| now < kept.expires_at), state.requests)
        };
        let Some(kept) = kept else {
            let _turn = self.refreshing.lock().await;
            if let Some(answer) = self.answered_since(seen) {
                return answer;
            }
            return self.refresh(fetch).await;
        };
        if now < kept.refresh_at {
            return Ok(kept.token);
        }
        // Still good: one caller refreshes it, the others go on with it, and a failure does no harm yet.
        let Ok(_turn) = self.refreshing.try_lock() else { return Ok(kept.token) };
        if let Some(Ok(token)) = self.answered_since(seen) {
            return Ok(token);
        }
        match self.refresh(fetch).await {
            Ok(token) => Ok(token),
            Err(error) => {
                tracing::warn!(%error, "a token could not be refreshed early; the old one is still good");
                self.postpone();
                Ok(kept.token)
            }
        }
    }

    async fn refresh<F, R>(&self, fetch: F) -> Result<Token>
    where
        F: FnOnce() -> R,
        R: Future<Output = Result<Token>>,
    {
        let fetched = fetch().await;
        let mut state = self.state();
        state.requests += 1;
        match fetched {
            Ok(token) => {
                let now = Instant::now();
                let margin = MARGIN.min(token.valid_for() / 4);
                state.kept = Some(Kept {
                    refresh_at: now + (token.valid_for() - margin),
                    expires_at: now + token.valid_for(),
                    token: token.clone(),
                });
                state.last_error = None;
                Ok(token)
            }
            Err(error) => {
                state.last_error = Some(error.clone());
                Err(error)
            }
        }
    }

    /// The token that a request has brought which ended after `seen`.
    fn answered_since(&self, seen: u64) -> Option<Result<Token>> {
        let state = self.state();
        if state.requests == seen {
            return None;
        }
        match (&state.last_error, &state.kept) {
            (Some(error), _) => Some(Err(error.clone())),
            (None, Some(kept)) if Instant::now() < kept.expires_at => Some(Ok(kept.token.clone())),
            _ => None,
        }
    }

    /// After a failed early refresh the next one waits a while, or the token endpoint would see every call.
    fn postpone(&self) {
        if let Some(kept) = &mut self.state().kept {
            let left = kept.expires_at.saturating_duration_since(Instant::now());
            kept.refresh_at = kept.expires_at - left / 2;
        }
    }

    fn forget(&self, token: &Token) {
        let mut state = self.state();
        if state.kept.as_ref().is_some_and(|kept| kept.token.expose() == token.expose()) {
            state.kept = None;
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use async_trait::async_trait;
    use falco_core::{Error, ErrorKind};

    use super::*;

    #[derive(Debug, Default)]
    struct Counting {
        requests: AtomicU64,
        failing: std::sync::atomic::AtomicBool,
        lifetime: Duration,
    }

    #[async_trait]
    impl TokenSource for Counting {
        async fn access_token(&self) -> Result<Token> {
            let n = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
            if self.failing.load(Ordering::SeqCst) {
                return Err(Error::new(ErrorKind::Unavailable, format!("failure {n}")));
            }
            Ok(Token::new(format!("token {n}"), self.lifetime))
        }

        async fn id_token(&self, audience: &str) -> Result<Token> {
            let token = self.access_token().await?;
            Ok(Token::new(format!("{} for {audience}", token.expose()), self.lifetime))
        }

        async fn email(&self) -> Result<String> {
            Ok("e@p".into())
        }
    }

    fn caching(lifetime: u64) -> (Arc<Counting>, Arc<TokenCache>) {
        let source =
            Arc::new(Counting { lifetime: Duration::from_secs(lifetime), ..Counting::default() });
        let cache = Arc::new(TokenCache::new(Arc::clone(&source) as Arc<dyn TokenSource>));
        (source, cache)
    }

    async fn all_of(cache: &Arc<TokenCache>, callers: usize) -> Vec<Result<Token>> {
        let calls = (0..callers).map(|_| {
            let cache = Arc::clone(cache);
            tokio::spawn(async move { cache.access_token().await })
        });
        let calls: Vec<_> = calls.collect();
        let mut tokens = Vec::new();
        for call in calls {
            tokens.push(call.await.unwrap());
        }
        tokens
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_callers_cause_one_request() {
        let (source, cache) = caching(3600);
        for token in all_of(&cache, 1000).await {
            assert_eq!(token.unwrap().expose(), "token 1");
        }
        assert_eq!(source.requests.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_callers_share_one_failure_and_the_next_one_asks_again() {
        let (source, cache) = caching(3600);
        source.failing.store(true, Ordering::SeqCst);
        for token in all_of(&cache, 1000).await {
            assert_eq!(token.unwrap_err().message(), "failure 1");
        }
        source.failing.store(false, Ordering::SeqCst);
        assert_eq!(cache.access_token().await.unwrap().expose(), "token 2");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_refreshed_early_by_one_caller_while_the_others_go_on_with_it() {
        let (source, cache) = caching(3600);
        cache.access_token().await.unwrap();
        tokio::time::advance(Duration::from_secs(3600 - 225)).await;
        let tokens = all_of(&cache, 100).await;
        let old = tokens.iter().filter(|token| token.as_ref().unwrap().expose() == "token 1");
        assert_eq!(old.count(), 99);
        assert_eq!(source.requests.load(Ordering::SeqCst), 2);
        assert_eq!(cache.access_token().await.unwrap().expose(), "token 2");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_early_refresh_does_no_harm_while_the_token_is_good() {
        let (source, cache) = caching(3600);
        cache.access_token().await.unwrap();
        source.failing.store(true, Ordering::SeqCst);
        tokio::time::advance(Duration::from_secs(3600 - 225)).await;
        for _ in 0..20 {
            assert_eq!(cache.access_token().await.unwrap().expose(), "token 1");
        }
        assert_eq!(source.requests.load(Ordering::SeqCst), 2, "not a request for every call");
        tokio::time::advance(Duration::from_secs(225)).await;
        assert!(cache.access_token().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_lived_token_is_not_asked_for_all_the_time() {
        let (source, cache) = caching(60);
        for _ in 0..44 {
            cache.access_token().await.unwrap();
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(source.requests.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_replaced_once_however_many_calls_saw_it_refused() {
        let (source, cache) = caching(3600);
        let refused = cache.access_token().await.unwrap();
        for _ in 0..10 {
            cache.forget_access(&refused);
            assert_eq!(cache.access_token().await.unwrap().expose(), "token 2");
        }
        assert_eq!(source.requests.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_goes_away_while_asking_leaves_the_others_no_worse_off() {
        let (source, cache) = caching(3600);
        let first = tokio::spawn({
            let cache = Arc::clone(&cache);
            async move { cache.access_token().await }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        first.abort();
        assert_eq!(cache.access_token().await.unwrap().expose(), "token 2");
        assert_eq!(source.requests.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn each_audience_has_its_own_token() {
        let (_, cache) = caching(3600);
        let a = cache.id_token("https://a").await.unwrap();
        let b = cache.id_token("https://b").await.unwrap();
        assert_eq!(a.expose(), "token 1 for https://a");
        assert_eq!(b.expose(), "token 2 for https://b");
        assert_eq!(cache.id_token("https://a").await.unwrap().expose(), a.expose());
    }
}
