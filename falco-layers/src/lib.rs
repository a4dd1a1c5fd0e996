#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod budget;
mod congestion;
mod door;
mod escalation;
mod held;
mod layer;
mod replicas;
mod retry;
mod several;
mod silence;
mod spread;
mod stack;
mod timeout;
mod trace;

pub use budget::{Budget, BudgetReport, StageCost};
pub use congestion::{
    Adaptive, Aimd, Caps, CongestionControl, Fixed, Gains, Gate, Pace, Permit, Pid, TargetRate,
};
pub use escalation::{Escalation, Ladder};
pub use held::{Held, HeldPolicy};
pub use layer::{Intercept, Intercepted, Layer};
pub use replicas::Replicas;
pub use retry::{Retry, RetryBudget, RetryPolicy};
pub use spread::{Part, Share, Spread};
pub use stack::Stack;
pub use timeout::{Timeout, TimeoutPolicy};
pub use trace::Trace;
