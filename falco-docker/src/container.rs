//! One container: its start, its requests and answers, its end.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptions, StartContainerOptions,
};
use bytes::{Bytes, BytesMut};
use falco_core::{LogStream, Result};
use falco_workers::Capture;
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::events::{End, Ends};
use crate::marks::Marks;
use crate::refusal::refusal;
use crate::sweep;

/// How often somebody looks whether the answer is still wanted.
const LOOK: Duration = Duration::from_millis(20);

/// How long the daemon may take to report the end of a container whose streams have ended.
const END: Duration = Duration::from_secs(10);

/// How long the log of a call may come after its answer.
const LATE_LOG: Duration = Duration::from_secs(1);

type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;

/// How an exchange ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// A whole line, without its line break.
    Answered(Bytes),
    /// The container ended, or its streams did.
    Exited,
    /// It took longer than it may.
    TimedOut,
    /// Nobody wants the answer any more.
    Stopped,
    /// The answer is longer than it may be.
    TooLong,
    /// The container had ended before, and the request was not delivered.
    NotDelivered,
}

/// A container that is attached to this process. Dropped, it is removed.
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) booted_at: SystemTime,
    docker: Docker,
    ends: Arc<Ends>,
    input: Pin<Box<dyn AsyncWrite + Send>>,
    output: Output,
    /// Text from stdout that is not a whole line yet.
    answer: BytesMut,
    /// Finds the end of a call's log, where a shim marks it.
    marks: Option<Marks>,
    log_has_ended: bool,
    end: Option<oneshot::Receiver<End>>,
}

/// The settings that a container is started with.
pub(crate) struct Start<'a> {
    pub(crate) image: &'a str,
    pub(crate) driver: &'a str,
    pub(crate) host_config: HostConfig,
    pub(crate) marks_logs: bool,
}

impl Container {
    /// Creates a container, attaches to it and starts it.
    pub(crate) async fn start(
        docker: &Docker,
        host: &str,
        ends: &Arc<Ends>,
        start: Start<'_>,
    ) -> Result<Self> {
        let refused = |error: bollard::errors::Error| refusal(host, &error);
        let body = ContainerCreateBody {
            image: Some(start.image.to_owned()),
            labels: Some(HashMap::from([(sweep::DRIVER.to_owned(), start.driver.to_owned())])),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            open_stdin: Some(true),
            // The daemon closes stdin when this process ends, and the shim ends with it.
            stdin_once: Some(true),
            host_config: Some(start.host_config),
            ..ContainerCreateBody::default()
        };
        let options = None::<CreateContainerOptions>;
        let id = docker.create_container(options, body).await.map_err(refused)?.id;
        // From here on, dropping it removes it.
        let mut started = Half { docker: docker.clone(), id: Some(id.clone()) };
        let attach = AttachContainerOptionsBuilder::new().stream(true).stdin(true);
        let attach = attach.stdout(true).stderr(true).build();
        let streams = docker.attach_container(&id, Some(attach)).await.map_err(refused)?;
        let end = ends.expect(&id);
        docker.start_container(&id, None::<StartContainerOptions>).await.map_err(|error| {
            ends.forget(&id);
            refusal(host, &error)
        })?;
        started.id = None;
        Ok(Self {
            id,
            booted_at: SystemTime::now(),
            docker: docker.clone(),
            ends: ends.clone(),
            input: streams.input,
            output: streams.output,
            answer: BytesMut::new(),
            marks: start.marks_logs.then(Marks::default),
            log_has_ended: false,
            end: Some(end),
        })
    }

    /// Sends a request, which is one line in pieces, and waits for the answer.
    pub(crate) async fn exchange(
        &mut self,
        request: &[&[u8]],
        limit: usize,
        deadline: Instant,
        log: &mut Capture,
        is_unwanted: impl Fn() -> bool,
    ) -> Ending {
        if self.has_ended(log) {
            return Ending::NotDelivered;
        }
        let request = [request.concat(), b"\n".to_vec()].concat();
        let mut unsent: &[u8] = &request;
        let mut look = tokio::time::interval(LOOK);
        let deadline = tokio::time::Instant::from_std(deadline);
        let timeout = tokio::time::sleep_until(deadline);
        tokio::pin!(timeout);
        loop {
            if let Some(line) = self.line() {
                self.finish_log(log).await;
                return if line.len() > limit { Ending::TooLong } else { Ending::Answered(line) };
            }
            if self.answer.len() > limit {
                return Ending::TooLong;
            }
            tokio::select! {
                written = self.input.write(unsent), if !unsent.is_empty() => match written {
                    Ok(length) if length > 0 => unsent = &unsent[length..],
                    _ => {
                        // Nothing of it was read: a line counts once it is whole.
                        return Ending::NotDelivered;
                    }
                },
                output = self.output.next() => match output {
                    Some(Ok(output)) => self.take(output, log),
                    _ if !unsent.is_empty() => return Ending::NotDelivered,
                    _ => return Ending::Exited,
                },
                () = &mut timeout => return Ending::TimedOut,
                _ = look.tick() => if is_unwanted() {
                    return Ending::Stopped;
                },
            }
        }
    }

    /// Waits for an answer that nobody has to ask for.
    pub(crate) async fn listen(
        &mut self,
        limit: usize,
        deadline: Instant,
        log: &mut Capture,
        is_unwanted: impl Fn() -> bool,
    ) -> Ending {
        let deadline = tokio::time::Instant::from_std(deadline);
        loop {
            if let Some(line) = self.line() {
                return Ending::Answered(line);
            }
            if self.answer.len() > limit {
                return Ending::TooLong;
            }
            let until = deadline.min(tokio::time::Instant::now() + LOOK);
            match tokio::time::timeout_at(until, self.output.next()).await {
                Ok(Some(Ok(output))) => self.take(output, log),
                Ok(_) => return Ending::Exited,
                Err(_) if is_unwanted() => return Ending::Stopped,
                Err(_) if tokio::time::Instant::now() >= deadline => return Ending::TimedOut,
                Err(_) => {}
            }
        }
    }

    /// Whether the container is known to have ended, after what it has written is read.
    fn has_ended(&mut self, log: &mut Capture) -> bool {
        while let Some(output) = self.output.next().now_or_never() {
            match output {
                Some(Ok(output)) => self.take(output, log),
                _ => return true,
            }
        }
        // What it printed since the last call has no end of its own.
        self.log_has_ended = false;
        self.end.as_mut().is_some_and(|end| !matches!(end.try_recv(), Err(TryRecvError::Empty)))
    }

    fn take(&mut self, output: LogOutput, log: &mut Capture) {
        match output {
            LogOutput::StdErr { message } => match &mut self.marks {
                Some(marks) => {
                    let (text, ended) = marks.feed(&message);
                    log.push(LogStream::Stderr, &text);
                    self.log_has_ended |= ended > 0;
                }
                None => log.push(LogStream::Stderr, &message),
            },
            LogOutput::StdOut { message } | LogOutput::Console { message } => {
                self.answer.extend_from_slice(&message);
            }
            LogOutput::StdIn { .. } => {}
        }
    }

    /// A whole line, if one has come.
    fn line(&mut self) -> Option<Bytes> {
        let end = self.answer.iter().position(|byte| *byte == b'\n')?;
        let mut line = self.answer.split_to(end + 1);
        line.truncate(end);
        Some(line.freeze())
    }

    /// Reads the rest of a call's log: stderr and stdout are two streams, and the daemon says nothing of their order.
    async fn finish_log(&mut self, log: &mut Capture) {
        if self.marks.is_none() {
            return;
        }
        let deadline = tokio::time::Instant::now() + LATE_LOG;
        while !self.log_has_ended {
            match tokio::time::timeout_at(deadline, self.output.next()).await {
                Ok(Some(Ok(output))) => self.take(output, log),
                _ => break,
            }
        }
        self.log_has_ended = false;
    }

    /// Whether the function has written more than it was asked for.
    pub(crate) fn has_unasked_answer(&self) -> bool {
        !self.answer.is_empty()
    }

    /// How it ended, as the daemon reports it.
    pub(crate) async fn end(mut self) -> End {
        let Some(end) = self.end.take() else { return End::default() };
        match tokio::time::timeout(END, end).await {
            Ok(Ok(end)) => end,
            _ => End::default(),
        }
    }
}

/// A container that is not attached yet.
struct Half {
    docker: Docker,
    id: Option<String>,
}

impl Drop for Half {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            remove_later(self.docker.clone(), id);
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.ends.forget(&self.id);
        remove_later(self.docker.clone(), std::mem::take(&mut self.id));
    }
}

fn remove_later(docker: Docker, id: String) {
    // Without a runtime the process is on its way out, and the containers go with it.
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(async move { sweep::remove(&docker, &id).await });
    }
}
