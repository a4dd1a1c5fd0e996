//! Requests to a container that is reached by a port.

use std::time::Instant;

use bytes::Bytes;
use falco_workers::Capture;
use futures_util::StreamExt;

use crate::container::{Container, Ending, LOOK};
use crate::http::Reply;

/// Whether a request is sent once, or until somebody answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempts {
    One,
    /// The container may not listen yet.
    UntilAnswered,
}

impl Container {
    /// Sends a request, and waits for the answer. What the container prints meanwhile goes into the log.
    pub(crate) async fn post(
        &mut self,
        (path, body): (&str, Bytes),
        attempts: Attempts,
        limit: usize,
        deadline: Instant,
        log: &mut Capture,
        is_unwanted: impl Fn() -> bool,
    ) -> Ending {
        if self.has_ended(log) {
            return Ending::NotDelivered;
        }
        let reply = {
            let Some(port) = &mut self.port else { return Ending::NotDelivered };
            let (output, heard) = (&mut self.output, &mut self.heard);
            let mut has_output = true;
            let mut look = tokio::time::interval(LOOK);
            let timeout = tokio::time::sleep_until(tokio::time::Instant::from_std(deadline));
            tokio::pin!(timeout);
            let answer = async {
                match attempts {
                    Attempts::One => port.post(path, body, limit).await,
                    Attempts::UntilAnswered => port.post_until_answered(path, body, limit).await,
                }
            };
            tokio::pin!(answer);
            loop {
                tokio::select! {
                    reply = &mut answer => break reply,
                    piece = output.next(), if has_output => match piece {
                        Some(Ok(piece)) => heard.take(piece, log),
                        // It has ended. Without anybody to answer, it would be asked until the end of time.
                        _ if attempts == Attempts::UntilAnswered => return Ending::Exited,
                        _ => has_output = false,
                    },
                    () = &mut timeout => return Ending::TimedOut,
                    _ = look.tick() => if is_unwanted() {
                        return Ending::Stopped;
                    },
                }
            }
        };
        match reply {
            Ok(Reply::Answered(status, has_failed, body)) => {
                // Not every runtime marks the end of its start.
                if attempts == Attempts::One {
                    self.finish_log(log).await;
                }
                Ending::Replied(status, has_failed, body)
            }
            Ok(Reply::TooLong) => Ending::TooLong,
            Ok(Reply::NotDelivered) => Ending::NotDelivered,
            Ok(Reply::Broken) | Err(_) => {
                // What it printed before it ended is on its way.
                self.finish_log(log).await;
                Ending::Exited
            }
        }
    }
}
