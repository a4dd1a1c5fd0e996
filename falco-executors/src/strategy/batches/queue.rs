//! The inputs that wait for a batch, and the choice of those that go into the next one.

use std::collections::VecDeque;

use falco_core::{Activation, Invocation, Pending, Result};
use tokio::sync::oneshot;

use super::envelope;
use super::sizing::Sizing;

/// An input that waits for a batch.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) invocation: Invocation,
    /// The most inputs of the batch that it goes into.
    pub(super) at_most: usize,
    pub(super) reply: Reply,
}

/// Where the answer of an input goes.
#[derive(Debug)]
pub(super) enum Reply {
    Invoked(oneshot::Sender<Result<Box<Activation>>>),
    Submitted(oneshot::Sender<Result<Pending>>),
}

impl Reply {
    /// Whether nobody waits for it any more.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Invoked(reply) => reply.is_closed(),
            Self::Submitted(reply) => reply.is_closed(),
        }
    }

    /// Returns when nobody waits for it any more.
    pub(super) async fn closed(&mut self) {
        match self {
            Self::Invoked(reply) => reply.closed().await,
            Self::Submitted(reply) => reply.closed().await,
        }
    }
}

/// Whether more inputs may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::strategy) enum Supply {
    /// More come at once.
    Flows,
    /// The stream of inputs has none just now.
    Waits,
    /// The window is full.
    Full,
    /// The stream of inputs has ended; only inputs that are sent again may follow.
    Ended,
}

/// The inputs that wait for a batch, those first that are to be sent first.
#[derive(Debug, Default)]
pub(super) struct Queue(VecDeque<Waiting>);

/// The inputs at the head of the queue that make a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) inputs: usize,
    /// Whether nothing that could come would fit.
    pub(super) is_full: bool,
}

impl Queue {
    pub(super) fn push(&mut self, waiting: Waiting) {
        self.0.push_back(waiting);
    }

    /// Takes the inputs of a batch.
    pub(super) fn take(&mut self, inputs: usize) -> Vec<Waiting> {
        self.0.drain(..inputs.min(self.0.len())).collect()
    }

    /// The next batch; `None` when nothing waits. `room` is the longest argument of a call, in bytes.
    pub(super) fn choose(
        &mut self,
        sizing: &Sizing,
        slots: usize,
        room: u64,
        supply: Supply,
    ) -> Option<Choice> {
        while self.0.front().is_some_and(|waiting| waiting.reply.is_closed()) {
            self.0.pop_front();
        }
        let most = match supply {
            Supply::Flows => sizing.full(),
            _ => sizing.at_most(self.0.len(), slots),
        };
        let (room, most_bytes) = (room.saturating_sub(envelope::AROUND as u64), sizing.bytes());
        let (mut inputs, mut bytes, mut at_most) = (0, 0, most);
        for waiting in &self.0 {
            at_most = at_most.min(waiting.at_most);
            let length = waiting.invocation.payload().len() as u64;
            let with = bytes + length + 1;
            let fits = with <= room && bytes.saturating_add(length) <= most_bytes;
            if inputs > 0 && (inputs >= at_most || !fits) {
                return Some(Choice { inputs, is_full: true });
            }
            (inputs, bytes) = (inputs + 1, with);
        }
        let is_full = inputs >= at_most || bytes >= most_bytes;
        (inputs > 0).then_some(Choice { inputs, is_full })
    }
}

#[cfg(test)]
mod tests {
    use falco_core::{Batch, Payload};

    use super::*;

    /// A queue of inputs with these lengths and limits, and the ends where their answers come.
    fn queue(inputs: &[(usize, usize)]) -> (Queue, Vec<oneshot::Receiver<Result<Pending>>>) {
        let (mut queue, mut receivers) = (Queue::default(), Vec::new());
        for (length, at_most) in inputs {
            let json = format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8));
            let payload = Payload::from_bytes(json).unwrap();
            let (sender, receiver) = oneshot::channel();
            let invocation = Invocation::new("r", "s", "0", payload);
            queue.push(Waiting { invocation, at_most: *at_most, reply: Reply::Submitted(sender) });
            receivers.push(receiver);
        }
        (queue, receivers)
    }

    fn chosen(inputs: &[(usize, usize)], batch: Batch, room: u64, supply: Supply) -> (usize, bool) {
        let (mut queue, _receivers) = queue(inputs);
        let choice = queue.choose(&Sizing::new(batch), 2, room, supply).unwrap();
        (choice.inputs, choice.is_full)
    }

    #[test]
    fn a_batch_has_as_many_inputs_as_the_rule_the_room_and_the_inputs_allow() {
        const ANY: usize = usize::MAX;
        let ten = [(10, ANY); 10];
        let room = envelope::AROUND as u64;
        assert_eq!(chosen(&ten, Batch::of(4), u64::MAX, Supply::Flows), (4, true));
        assert_eq!(chosen(&ten, Batch::of(11), u64::MAX, Supply::Flows), (10, false));
        assert_eq!(chosen(&ten, Batch::of(11), room + 33, Supply::Flows), (3, true));
        assert_eq!(chosen(&ten, Batch::of(11), room + 32, Supply::Flows), (2, true));
        assert_eq!(chosen(&ten, Batch::of(11), 1, Supply::Flows), (1, true));
        assert_eq!(chosen(&ten, Batch::bytes(25), u64::MAX, Supply::Flows), (2, true));
        assert_eq!(chosen(&ten, Batch::bytes(21), u64::MAX, Supply::Flows), (2, true));
        assert_eq!(chosen(&ten[..2], Batch::bytes(22), u64::MAX, Supply::Flows), (2, true));
        assert_eq!(chosen(&ten[..2], Batch::bytes(23), u64::MAX, Supply::Flows), (2, false));
        assert_eq!(chosen(&ten, Batch::bytes(1), u64::MAX, Supply::Flows), (1, true));
        let limited = [(10, ANY), (10, 2), (10, ANY)];
        assert_eq!(chosen(&limited, Batch::of(3), u64::MAX, Supply::Flows), (2, true));
        assert_eq!(chosen(&[(10, 1)], Batch::of(3), u64::MAX, Supply::Flows), (1, true));
    }

    #[test]
    fn an_input_that_nobody_waits_for_is_not_sent() {
        let (mut queue, receivers) = queue(&[(10, 9), (10, 9)]);
        drop(receivers);
        assert!(queue.choose(&Sizing::new(Batch::of(2)), 1, u64::MAX, Supply::Ended).is_none());
        assert!(queue.0.is_empty());
    }
}
