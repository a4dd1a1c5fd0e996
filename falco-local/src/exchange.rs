//! An exchange with a worker: a request, and the wait for its answer.
//!
//! Requests may be sent ahead of the answer to the one before: see `Queue`. They have numbers, and what is printed is read
//! only while the worker has no other request, or up to the mark with which the call ends its output.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use falco_package::shim::NumberedAnswer;
use falco_workers::Capture;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::process::Process;
use crate::results::Line;
use crate::unsent::Unsent;

/// How often a running activation is looked at: is it wanted still, how much memory does it hold.
const TICK: Duration = Duration::from_millis(25);

/// How long the worker may take for a call before others that were sent behind it are given to idle workers.
const HOLD: Duration = Duration::from_millis(2);

/// How long a process that has closed its results may take to end.
const LAST_BREATH: Duration = Duration::from_secs(1);

/// The outcome of waiting for a worker's next line.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The line, without its line break and the request's number.
    Answered {
        line: Bytes,
        /// Whether the call, which has a number, was seen to print.
        has_printed: bool,
    },
    /// The line is longer than allowed.
    TooLong,
    /// The line does not belong to the request.
    Stray,
    /// The process ended before it took the request.
    NotDelivered,
    /// The process ended.
    Exited,
    /// It closed its results and went on.
    Closed,
    /// It took too long.
    TimedOut,
    /// The watch has ended it.
    Stopped,
}

/// One request, and the wait for its answer.
pub(crate) struct Exchange<'a> {
    /// The parts of the request's line; empty for a request that was sent ahead.
    pub(crate) request: &'a [&'a [u8]],
    /// The request's number, if it has one.
    pub(crate) number: Option<u64>,
    /// The length of the longest answer, in bytes.
    pub(crate) limit: usize,
    pub(crate) deadline: Instant,
}

/// The owner of a process, during an exchange.
pub(crate) trait Attendant {
    /// Called once the request is sent. The owner may send others behind it.
    fn sent(&mut self, process: &mut Process);

    /// Called before each wait for the worker. The owner may do other work while the worker runs the request.
    fn waits(&mut self);

    /// Whether the call may go on; asked now and then.
    fn look(&mut self, group: Pid) -> bool;

    /// Whether to take back requests that were sent ahead, asked every 2 ms.
    fn wants_back(&mut self) -> bool;

    /// Takes back requests that were sent ahead, by their numbers. They were not begun.
    fn returned(&mut self, numbers: &[Option<u64>]);
}

/// The owner of a process that is sent one request at a time: a look at it.
impl<Look: FnMut(Pid) -> bool> Attendant for Look {
    fn sent(&mut self, _: &mut Process) {}

    fn waits(&mut self) {}

    fn look(&mut self, group: Pid) -> bool {
        self(group)
    }

    fn wants_back(&mut self) -> bool {
        false
    }

    fn returned(&mut self, _: &[Option<u64>]) {}
}

impl Process {
    /// Sends a request, unless it was sent ahead, and waits for the worker's next line. What the worker prints meanwhile
    /// goes to `log`.
    ///
    /// After anything but an answer the process has to be ended, as soon as it has answered what it has begun already.
    pub(crate) fn exchange(
        &mut self,
        exchange: Exchange<'_>,
        log: &mut Capture,
        attendant: &mut impl Attendant,
    ) -> Ending {
        let Exchange { request, number, limit, mut deadline } = exchange;
        self.streams.begin(number.is_some());
        let mut unsent = Unsent::new(request);
        let is_fit = request.is_empty() || self.queue.fit(&self.requests, unsent.len()).is_ok();
        if !is_fit || !unsent.send(&self.requests) {
            return self.end(Ending::NotDelivered, log, attendant);
        }
        attendant.sent(self);
        let mut now = Instant::now();
        let (mut next_look, mut next_hold) = (now + TICK, now + HOLD);
        let mut results_are_open = true;
        let mut leaves_logs = false;
        let mut has_read_logs = false;
        let mut has_moved_on = false;
        let mut has_exited = false;
        // The call's ending, where the worker is at the next call already and the answer only marks where this one ends.
        let mut given_up = None;
        let mut is_at_hand = self.results.is_at_hand();
        loop {
            let until = if self.behind.is_empty() { next_look } else { next_hold.min(next_look) };
            let ready = if std::mem::take(&mut is_at_hand) {
                Ok(Ready { results: true, ..Ready::default() })
            } else {
                let wanted = Wanted {
                    results: results_are_open,
                    requests: !unsent.is_empty(),
                    logs: self.behind.is_empty() || !leaves_logs,
                };
                attendant.waits();
                self.wait(until.min(deadline).saturating_duration_since(now), &wanted)
            };
            let Ready { results, requests, stdout, stderr, exited } = match ready {
                Ok(ready) => ready,
                Err(error) => {
                    tracing::warn!(%error, "a worker cannot be waited for");
                    return self.end(Ending::Closed, log, attendant);
                }
            };
            if results {
                let (received, reason) = match self.results.read_line(&mut self.chunk, limit) {
                    Line::Complete { line, at_once } => {
                        (Some((received(line, number), at_once)), Ending::Stray)
                    }
                    Line::TooLong { begin } => {
                        (Some((unusable(&begin, number), false)), Ending::TooLong)
                    }
                    Line::Incomplete => (None, Ending::Stray),
                    Line::Closed => {
                        results_are_open = false;
                        deadline = deadline.min(now + LAST_BREATH);
                        (None, Ending::Closed)
                    }
                };
                is_at_hand = self.results.is_at_hand();
                if let Some((received, at_once)) = received {
                    if !matches!(received, Received::Answer { .. }) && given_up.is_none() {
                        if !self.take_back(attendant) {
                            return self.end(reason, log, attendant);
                        }
                        self.spent = true;
                        given_up = Some(reason);
                    }
                    let answer = match received {
                        Received::Answer { line, has_printed } => Some((line, has_printed)),
                        Received::Hidden { has_printed } => Some((Bytes::new(), has_printed)),
                        Received::Stray => None,
                        Received::Next => return self.end(Ending::Stray, log, attendant),
                    };
                    if let Some((line, has_printed)) = answer {
                        // The results were looked at before the logs, so whatever was printed before a line that was
                        // written at once is among what the same look found. Others need a second look.
                        let may_have_printed = !at_once || stdout || stderr || exited;
                        if has_printed || self.behind.is_empty() && may_have_printed {
                            self.streams.drain(&mut self.chunk, log);
                        } else {
                            self.streams.release(log);
                        }
                        if self.behind.is_empty() {
                            // A request that it did not read to its end would run into the next one, and so would a line
                            // that nobody has asked for.
                            self.spent |= exited || !unsent.is_empty() || is_at_hand;
                            self.spent |= !self.streams.are_open();
                        }
                        let has_printed = has_printed || number.is_some() && has_read_logs;
                        return given_up.unwrap_or(Ending::Answered { line, has_printed });
                    }
                }
            } else if exited && results_are_open && !has_exited {
                // The answer may have come after the look at the results.
                has_exited = true;
                is_at_hand = true;
            } else if exited {
                return self.end(Ending::Exited, log, attendant);
            }
            if stdout || stderr {
                // Which call has printed this is known only while the worker has one request.
                self.take_back(attendant);
                if self.behind.is_empty() {
                    self.streams.read(&mut self.chunk, log);
                    has_read_logs = true;
                } else {
                    leaves_logs = true;
                }
            }
            if requests && !unsent.send(&self.requests) {
                // It does not read any more; whether it answers anyway is for the results to show.
                unsent = Unsent::new(&[]);
                self.spent = true;
            }
            now = Instant::now();
            if now >= next_hold {
                next_hold = now + HOLD;
                if !self.behind.is_empty() && attendant.wants_back() {
                    self.take_back(attendant);
                }
            }
            if now < deadline && now < next_look {
                continue;
            }
            next_look = now + TICK;
            if self.take_back(attendant) && !has_moved_on {
                // The answer is there.
                has_moved_on = true;
            } else if now >= deadline {
                let ending = if results_are_open { Ending::TimedOut } else { Ending::Closed };
                return self.end(ending, log, attendant);
            } else if !attendant.look(self.group()) {
                return self.end(Ending::Stopped, log, attendant);
            }
        }
    }

    /// Takes back the requests that were sent ahead and are not begun, and says whether the worker has begun one of them: it has
    /// answered the call before, then.
    fn take_back(&mut self, attendant: &mut impl Attendant) -> bool {
        let length = self.behind.iter().map(|(_, length)| length).sum();
        // A worker that is still to take the call itself would take the next one in its place.
        if self.behind.is_empty() || !self.queue.holds_at_most(length) {
            return false;
        }
        self.take_all(attendant);
        !self.behind.is_empty()
    }

    /// Takes back all requests, and says whether the one to be answered next is among them.
    fn take_all(&mut self, attendant: &mut impl Attendant) -> bool {
        let numbers = self.queue.take_back();
        let count = numbers.len();
        let behind = self.behind.len();
        self.behind.retain(|(number, _)| !numbers.contains(&Some(*number)));
        let returned = behind - self.behind.len();
        if returned > 0 {
            attendant.returned(&numbers);
        }
        count > returned
    }

    fn end(&mut self, ending: Ending, log: &mut Capture, attendant: &mut impl Attendant) -> Ending {
        self.spent = true;
        self.take_back(attendant);
        // What it has printed belongs to the log, and to the error.
        self.kill();
        self.is_ended = true;
        self.streams.drain(&mut self.chunk, log);
        let has_exited = matches!(ending, Ending::Exited);
        if !has_exited && self.behind.is_empty() {
            return ending;
        }
        if let Err(error) = self.wait_until_ended() {
            tracing::warn!(%error, "a worker cannot be waited for");
            return ending;
        }
        // What it has not taken now it never will.
        let is_untouched = self.take_all(attendant);
        if has_exited && is_untouched { Ending::NotDelivered } else { ending }
    }

    /// Waits until something can be read or written. The results come first: see `exchange`.
    fn wait(&self, time: Duration, wanted: &Wanted) -> io::Result<Ready> {
        let nothing = PollFlags::empty();
        // A pipe that is closed already reports that for ever; its place is taken by one that is silent.
        let silent = || PollFd::new(&self.requests, nothing);
        let [stdout, stderr] = if wanted.logs {
            self.streams.pipes()
        } else {
            <[Option<&io::PipeReader>; 2]>::default()
        };
        let mut fds = [
            if wanted.results { PollFd::new(self.results.pipe(), PollFlags::IN) } else { silent() },
            PollFd::new(&self.alive, PollFlags::IN),
            stdout.map_or_else(silent, |pipe| PollFd::new(pipe, PollFlags::IN)),
            stderr.map_or_else(silent, |pipe| PollFd::new(pipe, PollFlags::IN)),
            PollFd::new(&self.requests, if wanted.requests { PollFlags::OUT } else { nothing }),
        ];
        let fds = if wanted.requests { &mut fds[..] } else { &mut fds[..4] };
        let time = Timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos().max(1)) };
        match poll(fds, Some(&time)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = |at: usize| !fds[at].revents().is_empty();
        Ok(Ready {
            results: wanted.results && ready(0),
            exited: ready(1),
            stdout: stdout.is_some() && ready(2),
            stderr: stderr.is_some() && ready(3),
            requests: wanted.requests && ready(4),
        })
    }
}

/// The pipes to wait for.
struct Wanted {
    results: bool,
    requests: bool,
    logs: bool,
}

#[derive(Default)]
struct Ready {
    results: bool,
    requests: bool,
    stdout: bool,
    stderr: bool,
    exited: bool,
}

enum Received {
    Answer {
        line: Bytes,
        has_printed: bool,
    },
    /// The answer in a line that cannot be used: behind something that the function has written, or too long.
    Hidden {
        has_printed: bool,
    },
    /// The answer to a later request.
    Next,
    /// Something that no request has asked for.
    Stray,
}

/// The meaning of a line while the answer to the request of that number is waited for.
fn received(line: Bytes, number: Option<u64>) -> Received {
    let Some(number) = number else { return Received::Answer { line, has_printed: false } };
    match NumberedAnswer::from_line(&line) {
        Some(NumberedAnswer { number: of, has_printed, answer, .. }) if of == number => {
            Received::Answer { line: answer, has_printed }
        }
        Some(answer) if answer.number > number => Received::Next,
        _ => unusable(&line, Some(number)),
    }
}

/// The meaning of a line that cannot be used as the answer to the request of that number.
fn unusable(line: &[u8], number: Option<u64>) -> Received {
    let Some(number) = number else { return Received::Stray };
    let holds = |text: String| line.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    if holds(format!("{number} printed {{")) {
        Received::Hidden { has_printed: true }
    } else if holds(format!("{number} {{")) {
        Received::Hidden { has_printed: false }
    } else {
        Received::Stray
    }
}
