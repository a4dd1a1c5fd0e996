//! Images as code, and code in images.

use std::collections::HashMap;

use bollard::models::ContainerCreateBody;
use falco_core::{Deployable, ErrorKind, Folder, Image, Invocation, Payload, Platform};
use falco_docker::DockerPlatform;
use serde_json::{Value, json};

use crate::{daemon, image};

/// A program that speaks ActionLoop, and says with which argument it was started.
const PROGRAM: &str = r#"
import json, os, sys
for line in sys.stdin:
    value = json.loads(line)["value"]
    print("says", value["n"])
    sys.stdout.flush()
    os.write(3, (json.dumps({"n": value["n"] + 1, "argument": sys.argv[1], "key": os.environ.get("KEY")}) + "\n").encode())
"#;

async fn called(platform: &DockerPlatform, function: &Deployable, argument: Value) -> Value {
    let deployment = platform.deploy(function).await.unwrap();
    let invocation = Invocation::new("run", "stage", "1", Payload::json(&argument).unwrap());
    let activation = platform.invoke(&deployment, &invocation).await.unwrap();
    let result = activation.outcome.unwrap().parse().unwrap();
    platform.remove(&deployment).await.unwrap();
    result
}

#[tokio::test]
async fn an_image_is_a_function_over_each_protocol() {
    let Some(host) = daemon::host() else { return };
    let docker = daemon::docker(&host).await;
    let config = ContainerCreateBody {
        image: Some(image::IMAGE.into()),
        entrypoint: Some(["python3", "-c", PROGRAM].map(str::to_owned).into()),
        cmd: Some(vec!["from the image".into()]),
        ..ContainerCreateBody::default()
    };
    image::commit(&docker, config, Vec::new(), "program").await;
    let config = daemon::config(&host).await.build().unwrap();
    let platform = DockerPlatform::connect(config).await.unwrap();
    assert!(platform.capabilities().images);
    let own = Deployable::from_image("docker-image", "falco-test:program").with_env("KEY", "v");
    let result = called(&platform, &own, json!({"n": 1})).await;
    assert_eq!(result, json!({"n": 2, "argument": "from the image", "key": "v"}));
    let other = Image::new("falco-test:program").with_arguments(["another"]);
    let other = Deployable::from_image("docker-image-2", other);
    assert_eq!(called(&platform, &other, json!({"n": 1})).await["argument"], "another");
}

#[tokio::test]
async fn code_runs_in_the_image_that_is_named_beside_it() {
    let Some(host) = daemon::host() else { return };
    let docker = daemon::docker(&host).await;
    let config = ContainerCreateBody {
        image: Some(image::IMAGE.into()),
        cmd: Some(vec!["true".into()]),
        env: Some(vec!["FROM_IMAGE=yes".into()]),
        labels: Some(HashMap::from([("mine".into(), "1".into())])),
        ..ContainerCreateBody::default()
    };
    image::commit(&docker, config, Vec::new(), "beside").await;
    let config = daemon::config(&host).await.build().unwrap();
    let platform = DockerPlatform::connect(config).await.unwrap();
    let source = "import os\ndef main(args):\n    return {'is': os.environ.get('FROM_IMAGE')}\n";
    let function = Deployable::python("docker-beside", source).with_image("falco-test:beside");
    assert_eq!(called(&platform, &function, json!({})).await, json!({"is": "yes"}));
}

#[tokio::test]
async fn deploying_the_same_again_makes_no_other_image() {
    let Some(host) = daemon::host() else { return };
    let docker = daemon::docker(&host).await;
    let config = daemon::config(&host).await.build().unwrap();
    let platform = DockerPlatform::connect(config).await.unwrap();
    let function = Deployable::python("docker-same", "def main(args): return args");
    let id = async || docker.inspect_image("falco-function:docker-same").await.unwrap().id;
    platform.deploy(&function).await.unwrap();
    let first = id().await;
    platform.deploy(&function).await.unwrap();
    assert_eq!(id().await, first);
    let deployment = platform.deploy(&function.with_env("KEY", "value")).await.unwrap();
    assert_ne!(id().await, first);
    platform.remove(&deployment).await.unwrap();
}

#[tokio::test]
async fn a_folder_of_the_function_is_seen_under_its_path_and_an_input_is_not_written_to() {
    let Some(host) = daemon::host() else { return };
    let config = daemon::config(&host).await.build().unwrap();
    let platform = DockerPlatform::connect(config).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(at("in")).unwrap();
    std::fs::write(at("in/text"), "words").unwrap();
    let source = "
def main(args):
    text = open(args['in'] + '/text').read()
    open(args['out'] + '/copy', 'w').write(text)
    try:
        open(args['in'] + '/more', 'w')
    except OSError as error:
        return {'text': text, 'refused': error.strerror}
    return {}
";
    let function = Deployable::python("docker-folders", source)
        .with_folder(Folder::read_only(at("in")))
        .with_folder(Folder::writable(at("out")));
    let result = called(&platform, &function, json!({"in": at("in"), "out": at("out")})).await;
    assert_eq!(result, json!({"text": "words", "refused": "Read-only file system"}));
    assert_eq!(std::fs::read_to_string(at("out/copy")).unwrap(), "words");
    let relative = Deployable::python("f", "x = 1").with_folder(Folder::writable("data"));
    assert_eq!(platform.deploy(&relative).await.unwrap_err().kind(), ErrorKind::InvalidInput);
}
