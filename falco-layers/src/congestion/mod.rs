//! Congestion control: a gate, a layer that sends through it, and controllers that decide how much.

mod adaptive;
mod aimd;
mod bucket;
mod fixed;
mod gate;
mod interval;
mod layer;
mod outage;
mod pace;
mod pause;
mod pid;
mod quota;
mod target;

pub use adaptive::Adaptive;
pub use aimd::Aimd;
pub use fixed::Fixed;
pub use gate::{Caps, Gate, Permit};
pub use layer::CongestionControl;
pub(crate) use outage::no_answer_since;
pub use pace::Pace;
pub(crate) use pause::LONGEST_WAIT;
pub use pid::{Gains, Pid};
pub use target::TargetRate;
