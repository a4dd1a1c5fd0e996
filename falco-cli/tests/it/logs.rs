//! `falco logs`: what functions print, without knowing ids.

use futures_util::future::join_all;

use crate::program::{Machine, Printed, has, json_lines};
use crate::remote::Remote;

const NOISY: &str = "
def main(args):
    print('said', args['name'])
    return {'name': args['name']}
";

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_activations_of_a_function_are_shown_by_its_name_where_the_platform_lists_them()
{
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("noisy.py", NOISY);
    let remotes = Remote::all();
    join_all(remotes.iter().map(|remote| shown_by_name(&machine, remote, &function))).await;
}

async fn shown_by_name(machine: &Machine, remote: &Remote, function: &str) {
    let run = |arguments: &[&str]| {
        let arguments: Vec<String> = arguments.iter().map(|it| (*it).to_owned()).collect();
        async move {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            remote.run(machine, &arguments).await
        }
    };
    let platform = remote.platform;
    run(&["deploy", "-f", function]).await.ok();
    for name in ["Ada", "Bo"] {
        run(&["call", "-q", "noisy", &format!("{{\"name\": \"{name}\"}}")]).await.ok();
    }
    let said = |printed: Printed| -> Vec<String> {
        let lines = printed.ok();
        lines.lines().map(|line| line.split(": ").nth(1).unwrap().to_owned()).collect()
    };
    assert_eq!(said(run(&["logs", "noisy"]).await), ["said Ada", "said Bo"], "{platform}");
    assert_eq!(said(run(&["logs", "noisy", "--last", "1"]).await), ["said Bo"], "{platform}");
    let logs = json_lines(&run(&["logs", "noisy", "--json"]).await.ok());
    assert_eq!(logs[1]["lines"][0]["text"], "said Bo", "{platform}");
    let id = logs[0]["id"].as_str().unwrap();
    assert_eq!(run(&["logs", "noisy", id]).await.ok(), "said Ada\n", "{platform}");
    let unknown = run(&["logs", "noisy", "unknown"]).await;
    assert!(unknown.error().contains("no log of unknown"), "{platform}");
    run(&["remove", "-q", "noisy"]).await.ok();
}

#[test]
fn this_machine_says_where_the_log_is() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    let function = machine.file("noisy.py", NOISY);
    machine.run(&["deploy", "-f", &function]).ok();
    let error = machine.run(&["logs", "noisy"]).error();
    assert!(error.contains("falco call noisy shows them"), "{error}");
    machine.run(&["remove", "noisy"]).ok();
}
