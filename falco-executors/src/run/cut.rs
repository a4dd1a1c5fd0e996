//! The reasons for which a stage does not come to its end, although nothing in it failed.

use falco_core::{Error, ErrorKind, StageName};

use crate::report::StageState;

/// The reason for which a stage cannot come to its end, although nothing in it failed.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    pub(super) state: StageState,
    /// Goes on where `stage "name"` stops.
    message: String,
    /// The first reason: the error of the stage that failed, or that of the stop.
    pub(super) cause: Error,
}

impl Cut {
    /// A stage upstream did not succeed.
    pub(super) fn by_upstream(upstream: &StageName, end: &Unsuccessful) -> Self {
        let state = match end.state {
            StageState::Stopped => StageState::Stopped,
            _ => StageState::UpstreamFailed,
        };
        let message = format!("follows {upstream:?}, which did not succeed");
        Self { state, message, cause: end.first_reason.clone() }
    }

    /// All stages that follow have stopped: going on would cost money for nothing.
    pub(super) fn by_downstream(cause: &Error) -> Self {
        let message = "was stopped because no stage that follows it can use its results";
        Self { state: StageState::Stopped, message: message.to_owned(), cause: cause.clone() }
    }

    pub(super) fn by_stop(reason: &Error) -> Self {
        let message = "was stopped with the run".to_owned();
        Self { state: StageState::Stopped, message, cause: reason.clone() }
    }

    pub(super) fn error(&self, stage: &StageName) -> Error {
        let message = format!("stage {stage:?} {}", self.message);
        Error::new(ErrorKind::Cancelled, message).with_source(&self.cause)
    }
}

/// The end of a stage that did not succeed.
#[derive(Clone, Debug)]
pub(super) struct Unsuccessful {
    pub(super) state: StageState,
    pub(super) error: Error,
    /// The same as `error` where the stage failed by itself.
    pub(super) first_reason: Error,
}
