use crate::program::{Machine, has};

#[test]
fn it_greets_everybody_in_the_order_named_and_prints_nothing_else() {
    if !has("python3") {
        return;
    }
    let printed = Machine::new().run("hello", &["world", "Ada"]);
    assert_eq!(printed.ok(), "Hello world!\nHello Ada!\n");
}

#[test]
fn it_greets_alike_with_every_executor_and_without_layers() {
    if !has("python3") {
        return;
    }
    let machine = Machine::new();
    for executor in ["sequential", "parallel", "async"] {
        let printed = machine.run("hello", &["--executor", executor, "world", "Ada"]);
        assert_eq!(printed.ok(), "Hello world!\nHello Ada!\n", "{executor}");
    }
    assert_eq!(machine.run("hello", &["--no-layers"]).ok(), "Hello world!\n");
}

#[test]
fn json_is_one_object_with_result_and_report() {
    if !has("python3") {
        return;
    }
    let json = Machine::new().run("hello", &["--json", "Ada"]).json();
    assert_eq!(json["result"], serde_json::json!([{"greeting": "Hello Ada!"}]));
    assert_eq!(json["report"]["invocations"]["succeeded"], 1);
    assert_eq!(json["report"]["stages"][0]["stage"], "greet");
}

#[test]
fn quiet_says_nothing_beside_the_result() {
    if !has("python3") {
        return;
    }
    let printed = Machine::new().run("hello", &["--quiet"]);
    assert_eq!((printed.stderr.as_str(), printed.stdout.as_str()), ("", "Hello world!\n"));
}
