//! One input of a stage.

use crate::id::InvocationId;
use crate::payload::Payload;

/// One input of a stage: the argument of one invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Input {
    /// The id of the invocation, unique in its stage.
    pub id: InvocationId,
    /// The function's argument.
    pub payload: Payload,
}

impl Input {
    /// An input with an id of the user's choice.
    pub fn new(id: impl Into<InvocationId>, payload: Payload) -> Self {
        Self { id: id.into(), payload }
    }

    /// The input with a sequence number, padded so that ids sort as the numbers do.
    pub fn numbered(index: usize, payload: Payload) -> Self {
        Self::new(format!("{index:08}"), payload)
    }
}
