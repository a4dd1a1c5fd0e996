//! A provider with quotas, on paused time, and a caller that always wants more.
//!
//! The testkit's simulated providers are what `cargo xtask bench congestion` measures. This one is simpler and different on
//! purpose, so that no controller is fitted to one model: it queues, and its refusals take their time on the way back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use falco_core::*;
use falco_layers::{CongestionControl, Gate};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

/// The quota of a provider.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quota {
    /// Calls that may run at once.
    pub(crate) concurrency: Option<u32>,
    /// Calls that may start in a window that begins at a multiple of its width.
    pub(crate) fixed_window: Option<(u32, Duration)>,
    /// Calls per second, by a token bucket that holds a tenth of it.
    pub(crate) per_second: Option<f64>,
    /// How long a call waits for a free place before it is refused.
    pub(crate) queue: Duration,
    /// New instances per second; a tenth of the minute's worth may come at once.
    pub(crate) ramp: Option<f64>,
}

#[derive(Debug)]
struct State {
    quota: Quota,
    window: (u64, u32),
    tokens: (f64, Duration),
    ramp: (f64, Duration),
    idle: u32,
    running: u32,
    random: fastrand::Rng,
    accepted: VecDeque<Duration>,
    throttled: VecDeque<Duration>,
}

#[derive(Clone, Debug)]
pub(crate) struct Provider {
    began: Instant,
    latency: Duration,
    state: Arc<Mutex<State>>,
    freed: Arc<tokio::sync::Notify>,
}

impl Provider {
    pub(crate) fn new(quota: Quota, latency: Duration) -> Self {
        Self {
            began: Instant::now(),
            latency,
            state: Arc::new(Mutex::new(State {
                quota,
                window: (0, 0),
                tokens: (0.0, Duration::ZERO),
                ramp: (1000.0, Duration::ZERO),
                idle: 0,
                running: 0,
                random: fastrand::Rng::with_seed(7),
                accepted: VecDeque::new(),
                throttled: VecDeque::new(),
            })),
            freed: Arc::default(),
        }
    }

    pub(crate) fn set(&self, quota: Quota) {
        self.state.lock().unwrap().quota = quota;
    }

    /// Accepted and refused calls since `from`.
    pub(crate) fn counts(&self, from: Duration, to: Duration) -> (usize, usize) {
        let state = self.state.lock().unwrap();
        let within =
            |times: &VecDeque<Duration>| times.iter().filter(|at| (from..to).contains(*at)).count();
        (within(&state.accepted), within(&state.throttled))
    }

    pub(crate) fn accepted(&self) -> Vec<Duration> {
        self.state.lock().unwrap().accepted.iter().copied().collect()
    }

    fn admit(&self, now: Duration) -> Option<Duration> {
        let mut state = self.state.lock().unwrap();
        let state = &mut *state;
        if let Some((limit, width)) = state.quota.fixed_window {
            let number = (now.as_nanos() / width.as_nanos()) as u64;
            if state.window.0 != number {
                state.window = (number, 0);
            }
            // A refused call counts too.
            state.window.1 += 1;
            if state.window.1 > limit {
                return None;
            }
        }
        if let Some(rate) = state.quota.per_second {
            let elapsed = (now - state.tokens.1).as_secs_f64();
            state.tokens = ((state.tokens.0 + elapsed * rate).min((rate / 10.0).max(1.0)), now);
            if state.tokens.0 < 1.0 {
                return None;
            }
            state.tokens.0 -= 1.0;
        }
        if state.quota.concurrency.is_some_and(|limit| state.running >= limit) {
            return None;
        }
        let mut latency = self.latency.as_secs_f64() * (0.7 + 0.6 * state.random.f64());
        if let Some(rate) = state.quota.ramp {
            if state.idle > 0 {
                state.idle -= 1;
            } else {
                let elapsed = (now - state.ramp.1).as_secs_f64();
                state.ramp = ((state.ramp.0 + elapsed * rate).min(rate * 10.0), now);
                if state.ramp.0 < 1.0 {
                    return None;
                }
                state.ramp.0 -= 1.0;
                latency += 0.4;
            }
        }
        if state.random.f64() < 0.01 {
            latency *= 8.0;
        }
        state.running += 1;
        state.accepted.push_back(now);
        Some(Duration::from_secs_f64(latency))
    }
}

#[async_trait]
impl Platform for Provider {
    fn name(&self) -> &str {
        "model"
    }

    fn capabilities(&self) -> Capabilities {
        let quota = self.state.lock().unwrap().quota;
        let rate = quota.per_second.map(|rate| RateLimit::new(rate as u32, Duration::from_secs(1)));
        let window = quota.fixed_window;
        let window = window.map(|(invocations, window)| RateLimit::new(invocations, window));
        Capabilities::default().with_concurrency(quota.concurrency).with_rate(rate.or(window))
    }

    async fn deploy(&self, _: &Deployable) -> Result<Deployment> {
        unreachable!("the model is only invoked")
    }

    async fn fetch_deployment(&self, _: &str) -> Result<Deployment> {
        unreachable!("the model is only invoked")
    }

    async fn list_deployments(&self) -> Result<Vec<Deployment>> {
        unreachable!("the model is only invoked")
    }

    async fn scale(&self, _: &Deployment, _: &Scaling) -> Result<Deployment> {
        unreachable!("the model is only invoked")
    }

    async fn remove(&self, _: &Deployment) -> Result<()> {
        unreachable!("the model is only invoked")
    }

    async fn invoke(&self, _: &Deployment, _: &Invocation) -> Result<Activation> {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let came = self.began.elapsed();
        let patience = self.state.lock().unwrap().quota.queue;
        let latency = loop {
            let now = self.began.elapsed();
            match self.admit(now) {
                Some(latency) => break latency,
                None if now - came < patience => {
                    let left = patience - (now - came);
                    let _ = tokio::time::timeout(left, self.freed.notified()).await;
                }
                None => {
                    self.state.lock().unwrap().throttled.push_back(now);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    return Err(Error::new(ErrorKind::Throttled, "too many requests"));
                }
            }
        };
        tokio::time::sleep(latency).await;
        {
            let mut state = self.state.lock().unwrap();
            state.running -= 1;
            state.idle += 1;
        }
        self.freed.notify_one();
        tokio::time::sleep(Duration::from_millis(10)).await;
        Ok(Activation::succeeded("a", Payload::empty()))
    }
}

invoke_only!(Provider);

pub(crate) fn deployment() -> Deployment {
    Deployment::new("f", "python:3".parse().unwrap()).with_platform("model")
}

/// Keeps `window` calls at the gate or in flight until `until`.
pub(crate) async fn saturate(provider: &Provider, gate: Gate, window: usize, until: Duration) {
    let platform = CongestionControl::new(provider.clone(), gate);
    let (deployment, invocation) =
        (deployment(), Invocation::new("run", "stage", "i", Payload::empty()));
    let mut calls = FuturesUnordered::new();
    let end = provider.began + until;
    while Instant::now() < end {
        while calls.len() < window {
            calls.push(platform.invoke(&deployment, &invocation));
        }
        let _ = tokio::time::timeout_at(end, calls.next()).await;
    }
}
