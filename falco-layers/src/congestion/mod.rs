//! Congestion control: a gate, a layer that sends through it, and controllers that decide how much.

mod adaptive;
mod aimd;
mod bucket;
mod caps;
mod fixed;
mod gate;
mod inner;
mod interval;
mod layer;
mod outage;
mod pace;
mod pause;
mod permit;
mod pid;
mod quota;
mod target;
mod watchers;

pub use adaptive::Adaptive;
pub use aimd::Aimd;
pub use caps::Caps;
pub use fixed::Fixed;
pub use gate::Gate;
pub use layer::CongestionControl;
pub(crate) use outage::no_answer_since;
pub use pace::Pace;
pub(crate) use pause::LONGEST_WAIT;
pub use permit::Permit;
pub use pid::{Gains, Pid};
pub use target::TargetRate;
