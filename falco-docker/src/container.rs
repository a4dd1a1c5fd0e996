//! One container: its start, its requests and answers, its end.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptions, DownloadFromContainerOptionsBuilder,
    InspectContainerOptions, StartContainerOptions,
};
use bytes::{Bytes, BytesMut};
use falco_core::{Error, ErrorKind, Result};
use falco_workers::Capture;
use futures_util::{FutureExt, Stream, StreamExt, TryStreamExt};
use hyper::StatusCode;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::sync::watch;

use crate::bundle::{Dialogue, INIT_FILE};
use crate::driver::DRIVER;
use crate::events::{End, Ends};
use crate::heard::Heard;
use crate::http::Connection;
use crate::isolation::PORT;
use crate::refusal::refusal;
use crate::sweep;

/// How often somebody looks whether the answer is still wanted.
pub(crate) const LOOK: Duration = Duration::from_millis(20);

/// How long the daemon may take to report the end of a container whose streams have ended.
const END: Duration = Duration::from_secs(10);

/// How long the log of a call may come after its answer.
const LATE_LOG: Duration = Duration::from_secs(1);

pub(crate) type Output =
    Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;

/// How an exchange ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// A whole line, without its line break.
    Answered(Bytes),
    /// An answer by HTTP: its status, whether a header says that the function failed, and its body.
    Replied(StatusCode, bool, Bytes),
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
    pub(crate) output: Output,
    pub(crate) heard: Heard,
    /// The connection to its port, if it has one.
    pub(crate) port: Option<Connection>,
    end: Option<oneshot::Receiver<End>>,
    breaks: watch::Receiver<u64>,
}

/// The settings that a container is started with.
pub(crate) struct Start<'a> {
    pub(crate) image: &'a str,
    pub(crate) driver: &'a str,
    pub(crate) host_config: HostConfig,
    pub(crate) dialogue: Dialogue,
    /// Further variables of the container, as `NAME=value`.
    pub(crate) environment: Vec<String>,
    /// The user of its processes, as `UID:GID`; none leaves the image's.
    pub(crate) user: Option<String>,
}

impl Container {
    /// Requests to the daemon in a start, at most.
    pub(crate) const START_REQUESTS: u32 = 4;

    /// Creates a container, attaches to it and starts it.
    pub(crate) async fn start(
        docker: &Docker,
        host: &str,
        ends: &Arc<Ends>,
        start: Start<'_>,
    ) -> Result<Self> {
        let refused = |error: bollard::errors::Error| refusal(host, &error);
        let has_port = start.dialogue.protocol().has_port();
        let body = ContainerCreateBody {
            image: Some(start.image.to_owned()),
            env: (!start.environment.is_empty()).then_some(start.environment),
            user: start.user,
            exposed_ports: has_port.then(|| vec![PORT.to_owned()]),
            labels: Some(HashMap::from([(DRIVER.to_owned(), start.driver.to_owned())])),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            open_stdin: Some(true),
            // The daemon closes stdin when this process ends, and the shim ends with it.
            stdin_once: Some(true),
            // Never `network_disabled`, which would start in two thirds of the time: `/etc/hosts` would be empty, and the name
            // `localhost` unknown.
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
        let (end, breaks) = (ends.expect(&id), ends.breaks());
        docker.start_container(&id, None::<StartContainerOptions>).await.map_err(|error| {
            ends.forget(&id);
            refusal(host, &error)
        })?;
        let port = match has_port {
            true => Some(published(docker, host, &id).await?),
            false => None,
        };
        started.id = None;
        Ok(Self {
            id,
            booted_at: SystemTime::now(),
            docker: docker.clone(),
            ends: ends.clone(),
            input: streams.input,
            output: streams.output,
            heard: Heard::new(start.dialogue),
            port,
            end: Some(end),
            breaks,
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
            if let Some(line) = self.heard.line() {
                self.finish_log(log).await;
                return if line.len() > limit { Ending::TooLong } else { Ending::Answered(line) };
            }
            if self.heard.answer.len() > limit {
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
                    Some(Ok(output)) => self.heard.take(output, log),
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
            if let Some(line) = self.heard.line() {
                return Ending::Answered(line);
            }
            if self.heard.answer.len() > limit {
                return Ending::TooLong;
            }
            let until = deadline.min(tokio::time::Instant::now() + LOOK);
            match tokio::time::timeout_at(until, self.output.next()).await {
                Ok(Some(Ok(output))) => self.heard.take(output, log),
                Ok(_) => return Ending::Exited,
                Err(_) if is_unwanted() => return Ending::Stopped,
                Err(_) if tokio::time::Instant::now() >= deadline => return Ending::TimedOut,
                Err(_) => {}
            }
        }
    }

    /// Whether the container is known to have ended, after what it has written is read.
    pub(crate) fn has_ended(&mut self, log: &mut Capture) -> bool {
        if !self.take_what_is_there(log) {
            return true;
        }
        // What it printed since the last call has no end of its own.
        self.heard.begin_log();
        // That events broke off before this call says nothing of an end that comes now.
        self.breaks.mark_unchanged();
        self.end.as_mut().is_some_and(|end| !matches!(end.try_recv(), Err(TryRecvError::Empty)))
    }

    /// Reads the rest of a call's log: stderr and stdout are two streams, and the daemon says nothing of their order.
    pub(crate) async fn finish_log(&mut self, log: &mut Capture) {
        let deadline = tokio::time::Instant::now() + LATE_LOG;
        while !self.heard.log_has_ended() {
            match tokio::time::timeout_at(deadline, self.output.next()).await {
                Ok(Some(Ok(output))) => self.heard.take(output, log),
                Ok(_) => break,
                Err(_) => {
                    self.heard.expect_no_marks(log);
                    break;
                }
            }
        }
        self.heard.begin_log();
    }

    /// Ends the log of the start of an executable, which has said whether it marks the end of each call's log.
    pub(crate) async fn finish_start(&mut self, marks_logs: bool, log: &mut Capture) {
        if marks_logs {
            self.heard.expect_marks();
            self.finish_log(log).await;
        } else {
            self.heard.expect_no_marks(log);
        }
    }

    /// Reads what has arrived; false where nothing can come any more.
    fn take_what_is_there(&mut self, log: &mut Capture) -> bool {
        while let Some(output) = self.output.next().now_or_never() {
            match output {
                Some(Ok(output)) => self.heard.take(output, log),
                _ => return false,
            }
        }
        true
    }

    /// Whether the function has written more than it was asked for, which would be taken for the next answer.
    pub(crate) fn has_unasked_answer(&mut self, log: &mut Capture) -> bool {
        self.take_what_is_there(log);
        !self.heard.answer.is_empty()
    }

    /// Whether a process in it was ended since the memory was used up. It may go on itself, where another process answers.
    pub(crate) fn has_run_out_of_memory(&self) -> bool {
        self.ends.has_run_out_of_memory(&self.id)
    }

    /// How it ended, as the daemon reports it; none where the daemon has ended with it.
    pub(crate) async fn end(mut self) -> Option<End> {
        let Some(end) = self.end.take() else { return Some(End::default()) };
        let mut breaks = self.breaks.clone();
        let reported = async {
            tokio::select! {
                biased;
                end = end => Some(end.unwrap_or_default()),
                // The sender lives as long as the container.
                _ = breaks.changed() => None,
            }
        };
        match tokio::time::timeout(END, reported).await {
            Ok(end) => end,
            Err(_) if self.docker.ping().await.is_err() => None,
            Err(_) => Some(End::default()),
        }
    }
}

/// The body of `/init`, from the files of a container.
pub(crate) async fn init_body(docker: Docker, container: String) -> Result<Bytes> {
    let unreadable = || Error::new(ErrorKind::Protocol, "the deployment has no code for /init");
    let options = DownloadFromContainerOptionsBuilder::new().path(INIT_FILE).build();
    let tar = docker.download_from_container(&container, Some(options));
    let tar = tar.try_fold(BytesMut::new(), |mut whole, piece| async move {
        whole.extend_from_slice(&piece);
        Ok(whole)
    });
    let tar = tar.await.map_err(|error| unreadable().with_source(&error))?;
    let mut archive = tar::Archive::new(&tar[..]);
    let mut entries = archive.entries().map_err(|error| unreadable().with_source(&error))?;
    let mut body = Vec::new();
    let mut entry = entries.next().and_then(std::result::Result::ok).ok_or_else(unreadable)?;
    std::io::Read::read_to_end(&mut entry, &mut body)
        .map_err(|error| unreadable().with_source(&error))?;
    Ok(body.into())
}

/// The port that the daemon has published a container's own at.
async fn published(docker: &Docker, host: &str, id: &str) -> Result<Connection> {
    let inspected = docker.inspect_container(id, None::<InspectContainerOptions>).await;
    let inspected = inspected.map_err(|error| refusal(host, &error))?;
    let ports = inspected.network_settings.and_then(|settings| settings.ports);
    let bindings = ports.and_then(|mut ports| ports.remove(PORT)?).unwrap_or_default();
    let found = bindings.into_iter().find_map(|binding| {
        let ip = binding.host_ip?.parse::<std::net::IpAddr>().ok()?;
        // Every address of this machine, where the daemon takes no single one.
        let ip = if ip.is_unspecified() { std::net::Ipv4Addr::LOCALHOST.into() } else { ip };
        Some(Connection::new(ip, binding.host_port?.parse().ok()?))
    });
    found.ok_or_else(|| {
        Error::new(ErrorKind::Unavailable, "the daemon has published no port of the container")
            .with_hint("its network has to be a bridge: see Isolation::network")
    })
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

#[cfg(test)]
mod tests;
