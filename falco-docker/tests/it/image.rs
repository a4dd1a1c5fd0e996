//! An image without a registry: this machine's shell, Python and Node.js with the libraries that they load.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use bollard::Docker;
use bollard::models::{ContainerConfig, ContainerCreateBody};
use bollard::query_parameters::{
    CommitContainerOptionsBuilder, CreateContainerOptions, CreateImageOptionsBuilder,
    RemoveContainerOptions, UploadToContainerOptionsBuilder,
};
use falco_testkit::machine_image::{add_link, collect, loaded_by, root_file_system, which};
use falco_testkit::runtimes;
use futures_util::TryStreamExt;
use tokio::sync::{Mutex, OnceCell};

/// The image's name.
pub(crate) const IMAGE: &str = "falco-test:latest";

/// The image with a runtime of OpenWhisk's.
pub(crate) const ACTION: &str = "falco-test:action";

/// The image with Lambda's emulator and the runtimes of AWS.
pub(crate) const LAMBDA: &str = "falco-test:lambda";

/// The image with a shell and nothing else.
pub(crate) const BARE: &str = "falco-test:bare";

/// The folder of what the images of other protocols have in addition.
const FOLDER: &str = "falco-test";

/// Makes the image, once for each daemon.
pub(crate) async fn make(docker: &Docker) {
    // One after the other: each copies a hundred megabytes.
    static MAKING: Mutex<()> = Mutex::const_new(());
    let _making = MAKING.lock().await;
    if docker.inspect_image(IMAGE).await.is_ok() {
        return;
    }
    let tar = tokio::task::spawn_blocking(root_file_system).await.unwrap();
    let options = CreateImageOptionsBuilder::new()
        .from_src("-")
        .repo("falco-test")
        .tag("latest")
        .changes(vec!["ENV PATH=/usr/local/bin:/usr/bin:/bin".into(), "ENV LANG=C.UTF-8".into()])
        .build();
    let body = bollard::body_full(tar.into());
    let progress = docker.create_image(Some(options), Some(body), None);
    progress.try_collect::<Vec<_>>().await.unwrap();
}

/// Makes the image [`BARE`].
pub(crate) async fn make_bare(docker: &Docker) {
    static MAKING: Mutex<()> = Mutex::const_new(());
    let _making = MAKING.lock().await;
    if docker.inspect_image(BARE).await.is_ok() {
        return;
    }
    let mut tar = tar::Builder::new(Vec::new());
    let shell = which("sh").unwrap();
    add_link(&mut tar, "bin/sh", &shell);
    for path in loaded_by(&shell).iter().chain([&shell]) {
        tar.append_path_with_name(path, path.strip_prefix("/").unwrap()).unwrap();
    }
    let options = CreateImageOptionsBuilder::new().from_src("-").repo("falco-test").tag("bare");
    let body = bollard::body_full(tar.into_inner().unwrap().into());
    let made = docker.create_image(Some(options.build()), Some(body), None);
    made.try_collect::<Vec<_>>().await.unwrap();
}

/// Makes the image for [`ACTION`], once for each process.
pub(crate) async fn make_action(docker: &Docker) {
    static MADE: OnceCell<()> = OnceCell::const_new();
    MADE.get_or_init(|| async {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in [
            ("action_proxy.py", include_str!("action_proxy.py")),
            ("launcher.py", include_str!("../../../falco-fakes/src/openwhisk/launcher.py")),
            ("launcher.js", include_str!("../../../falco-fakes/src/openwhisk/launcher.js")),
        ] {
            add(&mut tar, name, content.as_bytes());
        }
        let config = ContainerCreateBody {
            entrypoint: Some(words(&["python3", "-u", "/falco-test/action_proxy.py"])),
            env: Some(words(&["OW_EXECUTION_ENV=falco/test"])),
            ..labelled("action")
        };
        commit(docker, config, tar.into_inner().unwrap(), "action").await;
    })
    .await;
}

/// Makes the image for [`LAMBDA`], once for each process; false where the runtimes of AWS are not installed.
pub(crate) async fn make_lambda(docker: &Docker) -> bool {
    static MADE: OnceCell<bool> = OnceCell::const_new();
    let make = || async {
        let [python, client, node] =
            ["awslambdaric", "aws-lambda-ric", "nodejs-24"].map(runtimes::find);
        let (Some(python), Some(client), Some(node)) = (python, client, node) else { return false };
        let tar = tokio::task::spawn_blocking(move || emulator(&python, &client, &node));
        let config = ContainerCreateBody {
            entrypoint: Some(words(&["python3", "-u", "/falco-test/lambda_emulator.py"])),
            ..labelled("lambda")
        };
        commit(docker, config, tar.await.unwrap(), "lambda").await;
        true
    };
    *MADE.get_or_init(make).await
}

/// The emulator, and what it starts.
fn emulator(python: &Path, client: &Path, node: &Path) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    add(&mut tar, "lambda_emulator.py", include_str!("lambda_emulator.py").as_bytes());
    let library = std::fs::read_dir(python.join("lib")).unwrap().next().unwrap().unwrap().path();
    let mut files = BTreeSet::new();
    let packages = library.join("site-packages");
    collect(&packages, &mut files);
    let is_needed = |path: &&PathBuf| {
        let own = path.strip_prefix(&packages).unwrap().to_string_lossy();
        ["awslambdaric", "runtime_client", "simplejson", "snapshot"]
            .iter()
            .any(|p| own.starts_with(p))
    };
    let mut libraries = BTreeSet::new();
    for path in files.iter().filter(is_needed) {
        if path.extension().is_some_and(|extension| extension == "so") {
            libraries.extend(loaded_by(path));
        }
        let own = path.strip_prefix(&packages).unwrap();
        tar.append_path_with_name(path, Path::new(FOLDER).join("site-packages").join(own)).unwrap();
    }
    let mut files = BTreeSet::new();
    collect(&client.join("node_modules"), &mut files);
    for path in &files {
        if path.extension().is_some_and(|extension| extension == "node") {
            libraries.extend(loaded_by(path));
        }
        let own = path.strip_prefix(client).unwrap();
        tar.append_path_with_name(path, Path::new(FOLDER).join(own)).unwrap();
    }
    let node = node.join("node_modules/.bin/node").canonicalize().unwrap();
    libraries.extend(loaded_by(&node));
    tar.append_path_with_name(&node, Path::new(FOLDER).join("node")).unwrap();
    // The bootstrap of executables is a script for bash, and uses these.
    let mut programs = BTreeSet::new();
    for name in ["bash", "mktemp", "head", "tr", "wc", "cat", "sleep"] {
        let Some(program) = which(name) else { continue };
        libraries.extend(loaded_by(&program));
        if program != Path::new("/bin").join(name) {
            add_link(&mut tar, &format!("bin/{name}"), &program);
        }
        programs.insert(program);
    }
    for path in libraries.iter().chain(&programs) {
        tar.append_path_with_name(path, path.strip_prefix("/").unwrap()).unwrap();
    }
    tar.into_inner().unwrap()
}

fn add(tar: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, format!("{FOLDER}/{name}"), content).unwrap();
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// The settings of an image that names its protocol.
fn labelled(protocol: &str) -> ContainerCreateBody {
    let labels = HashMap::from([("falco.protocol".to_owned(), protocol.to_owned())]);
    ContainerCreateBody {
        image: Some(IMAGE.into()),
        labels: Some(labels),
        ..ContainerCreateBody::default()
    }
}

/// Makes an image out of [`IMAGE`] and these files.
pub(crate) async fn commit(docker: &Docker, config: ContainerCreateBody, tar: Vec<u8>, tag: &str) {
    let created = docker.create_container(None::<CreateContainerOptions>, config).await.unwrap();
    if !tar.is_empty() {
        let options = UploadToContainerOptionsBuilder::new().path("/").build();
        let body = bollard::body_full(tar.into());
        docker.upload_to_container(&created.id, Some(options), body).await.unwrap();
    }
    let options =
        CommitContainerOptionsBuilder::new().container(&created.id).repo("falco-test").tag(tag);
    docker.commit_container(options.build(), ContainerConfig::default()).await.unwrap();
    docker.remove_container(&created.id, None::<RemoveContainerOptions>).await.unwrap();
}
