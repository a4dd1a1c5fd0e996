//! The table: what is called with what, and what has to come of it in each language.

use serde_json::{Value, json};

/// One call of the suite's function, and its right outcome in each language that has the case.
///
/// # Examples
///
/// ```
/// for case in falco_testkit::shims::cases() {
///     println!("{} {} -> {:?}", case.name, case.argument, case.python);
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Case {
    /// The name of the case; the function knows by it what to do.
    pub name: &'static str,
    /// The argument.
    pub argument: Value,
    /// The right outcome in Python.
    pub python: Option<Right>,
    /// The right outcome in Node.js.
    pub node: Option<Right>,
    /// The right outcome of an executable.
    pub native: Option<Right>,
}

impl Case {
    /// The right outcome in the language of a runtime's family.
    pub fn right(&self, family: &str) -> Option<&Right> {
        match family {
            "python" => self.python.as_ref(),
            "nodejs" => self.node.as_ref(),
            "native" => self.native.as_ref(),
            _ => None,
        }
    }
}

/// The right outcome of a call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Right {
    /// It succeeds with this result.
    Value(Value),
    /// It succeeds, and the JSON text of the result contains this.
    Text(&'static str),
    /// It succeeds with a text of so many bytes under `value`, or of fewer where the platform's limit says so.
    Length(usize),
    /// It fails as `Raised`: the type, parts of the message and of the trace.
    Raised(Option<&'static str>, &'static str, &'static str),
    /// It fails as `BadResult`, with this in its message.
    BadResult(&'static str),
    /// It fails as `Crashed`.
    Crashed,
}

use Right::{BadResult, Crashed, Length, Raised, Text};

/// Every call, in the order in which the suite makes them.
pub fn cases() -> Vec<Case> {
    let value = |value: Value| Some(Right::Value(value));
    let all = |right: Right| [Some(right.clone()), Some(right.clone()), Some(right)];
    let both = |right: Right| [Some(right.clone()), Some(right), None];
    let raised = |kind, message, trace| Some(Raised(Some(kind), message, trace));
    let untyped = |message| Some(Raised(None, message, ""));
    let case = |name: &'static str, [python, node, native]: [Option<Right>; 3]| Case {
        name,
        argument: json!({ "case": name }),
        python,
        node,
        native,
    };
    let with = |mut case: Case, name: &str, argument: Value| {
        case.argument[name] = argument;
        case
    };
    let object = json!({"a": 1, "b": {"c": [true, null, 1.5, "ä€😀\n"]}});
    let separators = "a\u{2028}b\u{2029}c\u{85}d\r\n";
    let echoed = json!({"text": separators, "length": separators.chars().count()});
    let nothing = || value(json!({}));
    let only_python = |right| [right, None, None];
    let only_node = |right| [None, right, None];
    let only_native = |right| [None, None, right];
    vec![
        case("object", all(Right::Value(object))),
        case("empty", all(Right::Value(json!({})))),
        with(case("separators", all(Right::Value(echoed))), "text", json!(separators)),
        with(case("big", all(Length(BIG))), "length", json!(BIG)),
        case("huge_integer", [HUGE, None, HUGE]),
        case("nothing", [Some(BadResult("NoneType")), nothing(), None]),
        case("null", [None, Some(BadResult("null")), Some(BadResult("null"))]),
        case("list", [Some(BadResult("list")), Some(BadResult("array")), Some(BadResult("error"))]),
        case(
            "string",
            [Some(BadResult("str")), Some(BadResult("string")), Some(BadResult("text"))],
        ),
        case("bytes", only_python(Some(BadResult("bytes")))),
        case("not_json", only_native(Some(BadResult("JSON")))),
        case("unwritable", [Some(BadResult("set")), Some(BadResult("BigInt")), None]),
        case("circle", [Some(BadResult("Circular")), Some(BadResult("circular")), None]),
        case("nan", [Some(BadResult("NaN")), Some(BadResult("NaN")), Some(BadResult("JSON"))]),
        case("infinity", both(BadResult("infinity"))),
        case("half_value", all(BadResult("surrogate"))),
        case("half_key", all(BadResult("surrogate"))),
        case("backslashes", only_node(value(json!({"value": "\\ud83d null", "none": null})))),
        case("error_text", all(Raised(None, "no rows", ""))),
        case("error_null", all(Raised(None, "null", ""))),
        case("error_object", all(Raised(Some("NoRows"), "no rows", "in the cellar"))),
        case("error_half", all(Raised(None, "not a picture: \u{fffd}", ""))),
        case("error_number", all(Raised(None, r#"{"code":7}"#, ""))),
        case("error_escaped", only_native(untyped("no rows"))),
        case(
            "raise_builtin",
            [
                raised("ValueError", "bad value", "in raise_builtin"),
                raised("RangeError", "bad value", "raise_builtin"),
                None,
            ],
        ),
        case("raise_class", both(Raised(Some("NoRows"), "no rows", "raise_class"))),
        case("raise_silently", both(Raised(Some("NoRows"), "NoRows", "raise_silently"))),
        case(
            "raise_mute",
            [raised("Mute", "__str__ raises", "raise_mute"), untyped("reading it throws"), None],
        ),
        case(
            "raise_half",
            [
                raised("ValueError", "not a picture: \u{fffd}", "raise_half"),
                raised("Error", "not a picture: \u{fffd}", "raise_half"),
                None,
            ],
        ),
        case(
            "raise_chained",
            [
                raised("NoRows", "no rows", "KeyError"),
                raised("NoRows", "no rows", "TypeError"),
                None,
            ],
        ),
        case("raise_text", only_node(untyped("no rows"))),
        case("raise_nothing", only_node(untyped("undefined"))),
        case("reject", only_node(raised("NoRows", "no rows", "reject"))),
        case("reject_null", only_node(untyped("null"))),
        case("exit_by_exception", only_python(raised("SystemExit", "no input rows", "sys.exit"))),
        case("exit_beside_thread", only_python(raised("SystemExit", "no input rows", "sys.exit"))),
        case("interrupt", only_python(raised("KeyboardInterrupt", "stop", "interrupt"))),
        case("asynchronous", both(Right::Value(json!({"awaited": true})))),
        case("asynchronous_raise", only_python(raised("NoRows", "no rows", "asynchronous_raise"))),
        case("never", only_node(raised("NeverSettled", "nothing was left to wait for", ""))),
        with(case("processes", only_python(squares())), "method", json!("fork")),
        with(case("processes", only_python(squares())), "method", json!("spawn")),
        with(case("processes", only_python(squares())), "method", json!("forkserver")),
        case("fork", only_python(value(json!({"status": 0})))),
        case("print_much", [nothing(), nothing(), None]),
        case("print_half", only_python(nothing())),
        case("print_child", [nothing(), nothing(), None]),
        case("print_closed", [nothing(), nothing(), None]),
        case("change_directory", [nothing(), nothing(), None]),
        case("stdin", both(Right::Value(json!({"read": ""})))),
        case("exit_at_once", all(Crashed)),
    ]
}

/// Length of the longest text: 5 MB.
const BIG: usize = 5_000_000;

const HUGE: Option<Right> = Some(Text("123456789012345678901234567890"));

fn squares() -> Option<Right> {
    Some(Right::Value(json!({"squares": [1, 4, 9]})))
}
