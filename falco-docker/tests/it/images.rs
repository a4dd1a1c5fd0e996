//! Images as code, and code in images.

use std::collections::HashMap;

use bollard::models::ContainerCreateBody;
use falco_core::{Deployable, ErrorKind, Folder, Image, Invocation, Payload, Platform};
use falco_docker::DockerPlatform;
use futures_util::FutureExt;
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

/// A server that is a function by itself, of OpenWhisk's kind and of Lambda's: it takes the argument as it is.
const SERVER: &str = r#"
import http.server, json, os, sys
END = b"XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n"
class Own(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"] or 0)) or "{}")
        value = body.get("value", body)
        if self.path == "/init":
            os.environ.update(value.get("env", {}))
        else:
            # As runtimes end the log of a call: OpenWhisk's in each stream, Lambda's in one.
            os.write(1, b"END RequestId: 1\n" if self.path.startswith("/2015") else END)
            os.write(2, END)
        answer = {"n": value.get("n", 0) + 1, "argument": sys.argv[1], "key": os.environ.get("KEY")}
        text = json.dumps(answer).encode()
        self.send_response(404 if self.path == "/falco/ready" else 200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Own).serve_forever()
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
    let platform = DockerPlatform::connect(daemon::config(&host).await.build().unwrap());
    let platform = platform.await.unwrap();
    assert!(platform.capabilities().images);
    for (protocol, program) in [("pipe", PROGRAM), ("action", SERVER), ("lambda", SERVER)] {
        let config = ContainerCreateBody {
            image: Some(image::IMAGE.into()),
            entrypoint: Some(["python3", "-c", program].map(str::to_owned).into()),
            cmd: Some(vec!["from the image".into()]),
            labels: Some(HashMap::from([("falco.protocol".into(), protocol.into())])),
            ..ContainerCreateBody::default()
        };
        let tag = format!("program-{protocol}");
        image::commit(&docker, config, Vec::new(), &tag).await;
        let (name, image) = (format!("docker-image-{protocol}"), format!("falco-test:{tag}"));
        let own = Deployable::from_image(&name, &*image).with_env("KEY", "v");
        let result = called(&platform, &own, json!({"n": 1})).await;
        let expected = json!({"n": 2, "argument": "from the image", "key": "v"});
        assert_eq!(result, expected, "{protocol}");
        let other = Image::new(&*image).with_arguments(["another"]);
        let other = Deployable::from_image(format!("{name}-2"), other);
        let result = called(&platform, &other, json!({"n": 1})).await;
        assert_eq!(result["argument"], "another", "{protocol}");
    }
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
async fn a_deployment_that_was_given_up_takes_nothing_from_the_next_one_of_its_name() {
    let Some(host) = daemon::host() else { return };
    let config = daemon::config(&host).await.build().unwrap();
    let platform = DockerPlatform::connect(config).await.unwrap();
    let function = Deployable::python("docker-again", "def main(args): return args");
    // It goes on in a task of its own, and removes what it makes.
    assert!(platform.deploy(&function).now_or_never().is_none());
    assert_eq!(called(&platform, &function, json!({"n": 1})).await, json!({"n": 1}));
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

/// Says who answers by the name of this machine, and whether anybody else does.
const NETWORK: &str = "
import socket
def main(args):
    with socket.create_server(('localhost', 0)) as server:
        socket.create_connection(('localhost', server.getsockname()[1]), 10).close()
    interfaces = [name for _, name in socket.if_nameindex()]
    try:
        socket.create_connection(('192.0.2.1', 80), 10)
    except OSError as error:
        return {'interfaces': interfaces, 'refused': error.strerror}
    return {'interfaces': interfaces}
";

#[tokio::test]
async fn a_function_without_network_reaches_itself_by_the_name_localhost_and_nobody_else() {
    let Some(host) = daemon::host() else { return };
    let config = daemon::config(&host).await.build().unwrap();
    let platform = DockerPlatform::connect(config).await.unwrap();
    let result = called(&platform, &Deployable::python("docker-network", NETWORK), json!({})).await;
    assert_eq!(result["refused"], "Network is unreachable", "{result}");
    let interfaces: Vec<String> = serde_json::from_value(result["interfaces"].clone()).unwrap();
    assert!(interfaces.contains(&"lo".to_owned()), "{interfaces:?}");
    assert!(!interfaces.iter().any(|name| name.starts_with("eth")), "{interfaces:?}");
}
