//! The queries in containers of a real daemon, over the protocol of S3.

use std::process::Command;

use bollard::query_parameters::ListImagesOptions;
use falco_fakes::FakeS3;
use falco_tpch::Query;

use crate::platforms::{REQUIREMENTS, without_symbols};
use crate::tables::Tables;
use crate::{Program, answers, daemon, image};

/// A command whose containers see the loopback interface of this machine: the store is there.
fn command(program: &Program, host: &str, s3: &FakeS3, arguments: &[&str]) -> Command {
    let mut command = program.command_over("s3://bucket/tpch", arguments);
    command.args(["--platform", "docker", "--docker-network", "host", "--json"]);
    command.envs(s3.environment()).env("DOCKER_HOST", host).env("FALCO_DOCKER_PULL", "never");
    command.env("FALCO_DOCKER_IMAGE_PYTHON", image::IMAGE);
    command.env("FALCO_DOCKER_IMAGE_NATIVE", image::IMAGE);
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_in_rust_and_in_python_answer_as_duckdb_does_in_containers() {
    let Some(host) = daemon::host() else { return };
    let Some(tables) = Tables::shared().await else { return };
    let docker = daemon::docker(&host).await;
    let (program, s3) = (Program::new(), FakeS3::start());
    tables.put_into(&s3);

    let functions = without_symbols(program.folder());
    // The last --split counts.
    let arguments = ["--queries", "3,6", "--split", "2000000", "--functions"];
    let arguments = [&arguments[..], &[functions.to_str().unwrap()]].concat();
    let mut rust = command(&program, &host, &s3, &arguments);
    let runtime = tables.runtime();
    let arguments = ["--queries", "6", "--language", "python", "--requirements", REQUIREMENTS];
    let arguments = [&arguments[..], &["--runtime", &runtime]].concat();
    let mut python = command(&program, &host, &s3, &arguments);
    tables.offer_wheel(&mut python);
    let rust = tokio::task::spawn_blocking(move || answers(&mut rust));
    let python = tokio::task::spawn_blocking(move || answers(&mut python));
    tables.assert_same(&[Query::Q3, Query::Q6], &rust.await.unwrap(), "in Rust in containers");
    tables.assert_same(&[Query::Q6], &python.await.unwrap(), "in Python in containers");

    // Images are named after the functions, and no other test has functions of these names.
    let images = docker.list_images(None::<ListImagesOptions>).await.unwrap();
    let tags: Vec<String> = images.into_iter().flat_map(|image| image.repo_tags).collect();
    let is_ours = |tag: &&String| tag.contains("q3-") || tag.contains("q6-");
    assert_eq!(tags.iter().find(is_ours), None, "{tags:?}");
    assert_eq!(s3.objects("tpch/_scratch"), []);
}
