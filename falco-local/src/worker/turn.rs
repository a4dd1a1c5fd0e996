//! The work of a worker's thread while its process runs a call.

use std::collections::VecDeque;
use std::sync::Arc;

use falco_workers::Job;
use rustix::process::Pid;

use crate::ahead::Ahead;
use crate::exchange::Attendant;
use crate::pool::{Done, Pool};
use crate::process::Process;
use crate::watch::Watch;

/// The attendant of one exchange: it delivers results, sends jobs ahead and takes them back.
pub(super) struct Turn<'a, 'b> {
    pub(super) pool: &'a Arc<Pool>,
    pub(super) ahead: &'a mut Ahead,
    pub(super) watch: &'a mut Watch<'b>,
    pub(super) done: &'a mut Done,
    /// The jobs to send behind the one that runs.
    pub(super) more: VecDeque<Job>,
}

impl Attendant for Turn<'_, '_> {
    fn sent(&mut self, process: &mut Process) {
        let more = std::mem::take(&mut self.more);
        self.ahead.send(more, process, self.pool);
    }

    fn waits(&mut self) {
        self.done.deliver();
    }

    fn look(&mut self, group: Pid) -> bool {
        self.watch.look(group)
    }

    fn wants_back(&mut self) -> bool {
        self.pool.could_take() || self.ahead.has_unwanted()
    }

    fn returned(&mut self, numbers: &[Option<u64>]) {
        self.ahead.give_back(numbers, self.pool);
    }
}
