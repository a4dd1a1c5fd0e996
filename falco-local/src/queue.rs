//! The requests in a worker's pipe that it has not taken yet.
//!
//! In the packet mode of a pipe (`O_DIRECT` in pipe(7)), what one write has written is read by itself, however much the reader
//! asks for. So a worker takes one request when it is done with the one before, whatever it buffers, and the others stay where the driver
//! can take them back: each request is read by one of the two.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;

use falco_workers::answer;
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open};
use rustix::io::ioctl_fionread;

use crate::pipe::ATOMIC;

/// The driver's access to the requests in a worker's pipe.
#[derive(Debug, Default)]
pub(crate) enum Queue {
    /// Nothing was sent ahead so far.
    #[default]
    Unused,
    Open {
        /// A reading end of the pipe that never waits.
        end: File,
        /// Whether a write is read by itself.
        in_packets: bool,
    },
    /// The system has no packet mode for pipes, or does not let the pipe be opened again.
    Impossible,
}

impl Queue {
    /// Whether requests can be taken back.
    pub(crate) fn prepare(&mut self, requests: &io::PipeWriter) -> bool {
        if matches!(self, Self::Unused) {
            *self = Self::open(requests).unwrap_or_else(|error| {
                tracing::debug!(%error, "a worker gets one request at a time");
                Self::Impossible
            });
        }
        matches!(self, Self::Open { .. })
    }

    fn open(requests: &io::PipeWriter) -> io::Result<Self> {
        set_packets(requests, true)?;
        // A duplicate of the worker's end would share `O_NONBLOCK` with it, so the pipe is opened anew.
        let path = format!("/proc/self/fd/{}", requests.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(Self::Open { end: open(path, flags, Mode::empty())?.into(), in_packets: true })
    }

    /// Makes one packet of a request that fits into one, and a stream of others, which are read in larger pieces.
    pub(crate) fn fit(&mut self, requests: &io::PipeWriter, length: usize) -> io::Result<()> {
        let Self::Open { in_packets, .. } = self else { return Ok(()) };
        let fits = length <= ATOMIC;
        if fits != *in_packets {
            set_packets(requests, fits)?;
            *in_packets = fits;
        }
        Ok(())
    }

    /// Whether the worker has taken all requests but the last ones, which are `length` bytes together.
    pub(crate) fn holds_at_most(&self, length: usize) -> bool {
        let Self::Open { end, .. } = self else { return false };
        ioctl_fionread(end).is_ok_and(|held| held <= length as u64)
    }

    /// Takes back what the worker has not taken, each with its number, if it has one. The worker may take some meanwhile.
    pub(crate) fn take_back(&self) -> Vec<Option<u64>> {
        let Self::Open { end, .. } = self else { return Vec::new() };
        let mut from: &File = end;
        let mut buffer = [0; ATOMIC];
        let mut taken = Vec::new();
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return taken,
                Ok(read) => taken.push(number_of(&buffer[..read])),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return taken,
            }
        }
    }
}

/// The number of a request, which stands first.
fn number_of(request: &[u8]) -> Option<u64> {
    let rest = request.strip_prefix(answer::NUMBER.as_bytes())?;
    let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

fn set_packets(requests: &io::PipeWriter, on: bool) -> io::Result<()> {
    let mut flags = fcntl_getfl(requests)?;
    flags.set(OFlags::DIRECT, on);
    Ok(fcntl_setfl(requests, flags)?)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};

    use super::*;

    #[test]
    fn a_reader_with_a_buffer_takes_one_request_and_the_others_can_be_taken_back() {
        let (requests, mut to) = io::pipe().unwrap();
        let mut queue = Queue::default();
        assert!(queue.prepare(&to));
        let requests_of = |n| format!("{{\"n\":{n},\"value\":{{}}}}\n");
        for n in 7..11 {
            to.write_all(requests_of(n).as_bytes()).unwrap();
        }
        let behind = requests_of(8).len() + requests_of(9).len() + requests_of(10).len();
        assert!(!queue.holds_at_most(behind));
        let mut worker = BufReader::with_capacity(1 << 16, requests);
        let mut line = String::new();
        worker.read_line(&mut line).unwrap();
        assert_eq!(line, requests_of(7));
        assert!(queue.holds_at_most(behind));
        assert_eq!(queue.take_back(), [Some(8), Some(9), Some(10)]);
        to.write_all(b"{\"value\":{\"n\":1}}\n").unwrap();
        assert_eq!(queue.take_back(), [None]);
        assert!(queue.take_back().is_empty());
    }

    #[test]
    fn a_request_that_is_longer_than_a_packet_is_read_in_large_pieces() {
        let (mut requests, mut to) = io::pipe().unwrap();
        let mut queue = Queue::default();
        assert!(queue.prepare(&to));
        let long = vec![b'x'; 3 * ATOMIC];
        queue.fit(&to, long.len()).unwrap();
        to.write_all(&long).unwrap();
        let mut buffer = vec![0; 4 * ATOMIC];
        assert_eq!(requests.read(&mut buffer).unwrap(), long.len());
        queue.fit(&to, 2).unwrap();
        for request in [b"a\n", b"b\n"] {
            to.write_all(request).unwrap();
        }
        assert_eq!(requests.read(&mut buffer).unwrap(), 2);
    }
}
