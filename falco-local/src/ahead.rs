//! The jobs that a worker is sent before it has answered the one that it runs.
//!
//! Only short calls are sent ahead, and at most as many as run for a millisecond together, so that no call waits long behind another
//! one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use falco_core::Payload;
use falco_workers::{Job, answer};

use crate::pipe::ATOMIC;
use crate::pool::Pool;
use crate::process::Process;

/// How long the calls that were sent ahead may take together.
const WORK: Duration = Duration::from_millis(1);

/// The largest number of calls that are sent ahead.
const MOST: u32 = 32;

/// How much longer than its argument a request may be, in bytes.
const AROUND_ARGUMENT: usize = 256;

/// The number of calls that are sent one by one after one that has printed.
const AFTER_PRINTING: u32 = 64;

/// The jobs that one worker was sent ahead, and whose turn has not come.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    jobs: VecDeque<(u64, Job)>,
    last: u64,
    /// The length of recent calls: the longest one, less an eighth for each shorter call since.
    typical: Option<Duration>,
    /// The number of calls that are to be sent one by one.
    alone: u32,
}

impl Ahead {
    /// Whether no job was sent behind the current one.
    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// A number for a request.
    pub(crate) fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The next job that was sent, with its number.
    pub(crate) fn turn(&mut self) -> Option<(u64, Job)> {
        self.jobs.pop_front()
    }

    /// Records how long a call has run.
    pub(crate) fn note(&mut self, ran: Option<Duration>) {
        let Some(ran) = ran else { return };
        let faded = self.typical.map_or(ran, |typical| typical - typical / 8);
        self.typical = Some(ran.max(faded));
        self.alone = self.alone.saturating_sub(1);
    }

    /// Records that a call has printed. With others behind it, each such call needs marks in its logs, so calls are sent one by one for
    /// a while.
    pub(crate) fn note_output(&mut self) {
        self.alone = AFTER_PRINTING;
    }

    /// How many more jobs the worker may be sent.
    pub(crate) fn room(&self) -> usize {
        let Some(typical) = self.typical.filter(|_| self.alone == 0) else { return 0 };
        let most = WORK.as_nanos().checked_div(typical.as_nanos()).unwrap_or(u128::MAX);
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(MOST as usize);
        // Few at a time would cost as much as one by one.
        let sent = self.jobs.len();
        if sent > most / 2 { 0 } else { most - sent }
    }

    /// Sends jobs. Those that are not sent go back.
    pub(crate) fn send(
        &mut self,
        mut jobs: VecDeque<Job>,
        process: &mut Process,
        pool: &Arc<Pool>,
    ) {
        while let Some(job) = jobs.pop_front() {
            if job.is_unwanted() {
                job.refuse(answer::unwanted());
                continue;
            }
            let number = self.number();
            let envelope = answer::numbered_envelope(&job, number);
            let request = [envelope.as_bytes(), job.payload.as_str().as_bytes(), b"}"];
            if !fits(&job.payload) || !process.send_ahead(number, &request) {
                jobs.push_front(job);
                break;
            }
            self.jobs.push_back((number, job));
        }
        if !jobs.is_empty() {
            pool.give_back_ahead(jobs);
        }
    }

    /// Gives the jobs of these numbers back.
    pub(crate) fn give_back(&mut self, numbers: &[Option<u64>], pool: &Arc<Pool>) {
        let (back, kept) = std::mem::take(&mut self.jobs)
            .into_iter()
            .partition::<VecDeque<_>, _>(|(number, _)| numbers.contains(&Some(*number)));
        self.jobs = kept;
        let jobs: VecDeque<_> = back.into_iter().map(|(_, job)| job).collect();
        if !jobs.is_empty() {
            pool.give_back_ahead(jobs);
        }
    }

    /// Whether nobody waits any more for one of the jobs.
    pub(crate) fn has_unwanted(&self) -> bool {
        self.jobs.iter().any(|(_, job)| job.is_unwanted())
    }
}

/// Whether a request with this argument can be sent ahead, or have others sent behind it.
pub(crate) fn fits(argument: &Payload) -> bool {
    argument.len() <= ATOMIC - AROUND_ARGUMENT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room_after(calls: &[u64]) -> usize {
        let mut ahead = Ahead::default();
        for micros in calls {
            ahead.note(Some(Duration::from_micros(*micros)));
        }
        ahead.room()
    }

    #[test]
    fn only_short_calls_are_sent_ahead_and_the_longer_the_fewer() {
        for (calls, room) in [
            (&[][..], 0),
            (&[0], 32),
            (&[10], 32),
            (&[100], 10),
            (&[600], 1),
            (&[1_001], 0),
            (&[10_000], 0),
        ] {
            assert_eq!(room_after(calls), room, "{calls:?}");
        }
    }

    #[test]
    fn a_long_call_among_short_ones_counts_for_a_while() {
        let mut calls = vec![10, 100_000];
        assert_eq!(room_after(&calls), 0);
        calls.extend([10; 20]);
        assert_eq!(room_after(&calls), 0);
        calls.extend([10; 60]);
        assert_eq!(room_after(&calls), 32);
    }

    #[test]
    fn calls_are_sent_one_by_one_for_a_while_after_one_has_printed() {
        let mut ahead = Ahead::default();
        ahead.note(Some(Duration::from_micros(10)));
        ahead.note_output();
        let short = || Some(Duration::from_micros(10));
        (1..AFTER_PRINTING).for_each(|_| ahead.note(short()));
        assert_eq!(ahead.room(), 0);
        ahead.note(short());
        assert_eq!(ahead.room(), 32);
    }
}
