//! Functions in containers, beside containers that do nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptions, CreateImageOptionsBuilder,
    RemoveContainerOptionsBuilder, StartContainerOptions,
};
use falco_core::{
    Deployable, Deployment, ExecutionStrategy, Invocation, Payload, Platform, Scaling, Target,
};
use falco_docker::{DockerConfig, DockerPlatform, Pull};
use falco_executors::ParallelExecutor;
use falco_testkit::machine_image::root_file_system;
use futures_util::{StreamExt, TryStreamExt, future, stream};
use tokio::io::AsyncWriteExt;

use crate::figure::{Figure, Goal};

/// Names the daemon; `cargo xtask bench` starts one of its own and sets it.
const HOST: &str = "FALCO_TEST_DOCKER";
const IMAGE: &str = "falco-bench:latest";

const CALLS: usize = 20_000;
const COLD_STARTS: usize = 9;
const AT_ONCE: usize = 16;
const REPEATS: usize = 3;

/// Answers lines with lines: what a container costs without Falco.
const ECHO: &str = "import sys\nfor line in sys.stdin.buffer:\n    sys.stdout.buffer.write(line)\n    sys.stdout.buffer.flush()\n";
const FUNCTION: &str = "def main(args):\n    return args\n";

/// Measures the rate of a no-op function, its first answer, and sixteen first answers at once.
pub(crate) fn run() -> anyhow::Result<Vec<Figure>> {
    let host = std::env::var(HOST)
        .or_else(|_| DockerConfig::from_env().map(|config| config.host().to_owned()));
    let host = host.context("there is no Docker daemon")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let docker = Docker::connect_with_host(&host)?.negotiate_version().await?;
        make_image(&docker).await?;
        let config = DockerConfig::builder().host(&host).pull(Pull::Never).image("python", IMAGE);
        let platform = Arc::new(DockerPlatform::connect(config.build()?).await?);
        let (bare, rate) = rates(&docker, &platform).await?;
        let (run, first) = first_answers(&docker, &platform, 1, COLD_STARTS).await?;
        let (run_all, all) = first_answers(&docker, &platform, AT_ONCE, REPEATS).await?;
        Ok(vec![
            Figure::beside("docker: no-op calls", "calls/s", rate, bare, Goal::AtLeast(0.6)),
            Figure::beside("docker: first answer", "ms", first, run, Goal::AtMost(1.1)),
            Figure::beside(
                "docker: 16 first answers at once",
                "ms",
                all,
                run_all,
                Goal::AtMost(1.1),
            ),
        ])
    })
}

async fn make_image(docker: &Docker) -> anyhow::Result<()> {
    if docker.inspect_image(IMAGE).await.is_ok() {
        return Ok(());
    }
    let tar = tokio::task::spawn_blocking(root_file_system).await?;
    let options = CreateImageOptionsBuilder::new()
        .from_src("-")
        .repo("falco-bench")
        .tag("latest")
        .changes(vec!["ENV PATH=/usr/local/bin:/usr/bin:/bin".into(), "ENV LANG=C.UTF-8".into()])
        .build();
    let made = docker.create_image(Some(options), Some(bollard::body_full(tar.into())), None);
    made.try_collect::<Vec<_>>().await?;
    Ok(())
}

/// Calls a second over bare streams and of Falco, two containers each, in turns.
async fn rates(docker: &Docker, platform: &Arc<DockerPlatform>) -> anyhow::Result<(f64, f64)> {
    const WORKERS: u32 = 2;
    let deployment = Arc::new(deploy(platform, "bench-no-op", WORKERS).await?);
    let mut containers = Vec::new();
    for _ in 0..WORKERS {
        let mut container = Bare::start(docker).await?;
        container.call().await?;
        containers.push(container);
    }
    execute(platform, &deployment, 100).await?;
    let (mut bare, mut own) = (Vec::new(), Vec::new());
    for _ in 0..REPEATS {
        let begun = Instant::now();
        let each = CALLS / WORKERS as usize;
        let echoes = containers.iter_mut().map(async |container| {
            for _ in 0..each {
                container.call().await?;
            }
            anyhow::Ok(())
        });
        future::try_join_all(echoes).await?;
        bare.push(begun.elapsed());
        let begun = Instant::now();
        execute(platform, &deployment, CALLS).await?;
        own.push(begun.elapsed());
    }
    for container in containers {
        container.remove().await?;
    }
    platform.remove(&deployment).await?;
    let rate = |times| CALLS as f64 / (median(times) / 1e3);
    Ok((rate(bare), rate(own)))
}

async fn execute(
    platform: &Arc<DockerPlatform>,
    deployment: &Arc<Deployment>,
    calls: usize,
) -> anyhow::Result<()> {
    let invocations = stream::iter((0..calls).map(|index| invocation(&index.to_string())));
    let succeeded = ParallelExecutor::new()
        .execute(Target::new(platform.clone(), deployment.clone()), invocations.boxed())
        .fold(0, async |count, completion| count + usize::from(completion.is_success()))
        .await;
    ensure!(succeeded == calls, "{succeeded} of {calls} calls succeeded");
    Ok(())
}

/// Milliseconds until so many containers have answered, bare and of Falco, in turns.
async fn first_answers(
    docker: &Docker,
    platform: &Arc<DockerPlatform>,
    at_once: usize,
    repeats: usize,
) -> anyhow::Result<(f64, f64)> {
    let (mut bare, mut own) = (Vec::new(), Vec::new());
    for number in 0..repeats {
        let begun = Instant::now();
        let started = (0..at_once).map(async |_| {
            let mut container = Bare::start(docker).await?;
            container.call().await?;
            anyhow::Ok(container)
        });
        let containers = future::try_join_all(started).await?;
        bare.push(begun.elapsed());
        for container in containers {
            container.remove().await?;
        }
        let name = format!("bench-cold-{at_once}-{number}");
        let deployment = deploy(platform, &name, u32::try_from(at_once)?).await?;
        let begun = Instant::now();
        let calls = (0..at_once).map(async |call| {
            let activation = platform.invoke(&deployment, &invocation(&call.to_string())).await?;
            ensure!(activation.is_success(), "{:?}", activation.outcome);
            Ok(())
        });
        future::try_join_all(calls).await?;
        own.push(begun.elapsed());
        platform.remove(&deployment).await?;
    }
    Ok((median(bare), median(own)))
}

fn invocation(id: &str) -> Invocation {
    Invocation::new("bench", "docker", id, Payload::empty())
}

async fn deploy(
    platform: &DockerPlatform,
    name: &str,
    containers: u32,
) -> falco_core::Result<Deployment> {
    let scaling = Scaling::default().with_max_instances(containers);
    platform.deploy(&Deployable::python(name, FUNCTION).with_scaling(scaling)).await
}

/// A container that echoes lines over its attached streams, as isolated as one of Falco's.
struct Bare {
    docker: Docker,
    id: String,
    streams: bollard::container::AttachContainerResults,
}

impl Bare {
    async fn start(docker: &Docker) -> anyhow::Result<Self> {
        let folders = HashMap::from([("/tmp".to_owned(), "rw,exec,size=512m".to_owned())]);
        let body = ContainerCreateBody {
            image: Some(IMAGE.into()),
            cmd: Some(["python3", "-c", ECHO].map(str::to_owned).into()),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            open_stdin: Some(true),
            stdin_once: Some(true),
            host_config: Some(HostConfig {
                auto_remove: Some(true),
                init: Some(true),
                network_mode: Some("none".into()),
                readonly_rootfs: Some(true),
                tmpfs: Some(folders),
                cap_drop: Some(vec!["ALL".into()]),
                security_opt: Some(vec!["no-new-privileges".into()]),
                pids_limit: Some(512),
                log_config: Some(HostConfigLogConfig { typ: Some("none".into()), config: None }),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let id = docker.create_container(None::<CreateContainerOptions>, body).await?.id;
        let options = AttachContainerOptionsBuilder::new().stream(true).stdin(true).stdout(true);
        let streams = docker.attach_container(&id, Some(options.stderr(true).build())).await?;
        docker.start_container(&id, None::<StartContainerOptions>).await?;
        Ok(Self { docker: docker.clone(), id, streams })
    }

    /// A line of the length of a no-op's request, and back.
    async fn call(&mut self) -> anyhow::Result<()> {
        const LINE: &[u8] =
            b"{\"env\":{\"TRACEPARENT\":\"00-00000000000000000000000000000000-0000000000000000-00\"},\"value\":{}}\n";
        self.streams.input.write_all(LINE).await?;
        let mut read = 0;
        while read < LINE.len() {
            let piece = self.streams.output.next().await.context("the container has ended")??;
            read += piece.into_bytes().len();
        }
        Ok(())
    }

    async fn remove(self) -> anyhow::Result<()> {
        let options = RemoveContainerOptionsBuilder::new().force(true).build();
        Ok(self.docker.remove_container(&self.id, Some(options)).await?)
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}
