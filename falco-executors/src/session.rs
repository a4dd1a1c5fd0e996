//! The steps of a run, for drivers with loops of their own: deploy, execute a stage, remove.
//!
//! [`DriverExt`](crate::DriverExt) and [`Run`](crate::Run) are made of them.

pub use crate::run::{Deployed, Round, Session, StageRun, StageSpec};
