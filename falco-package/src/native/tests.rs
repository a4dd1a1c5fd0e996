use super::*;

#[test]
fn the_name_of_a_function_in_rust_may_have_hyphens_but_nothing_that_ends_a_quotation() {
    for name in ["q1-scan", "a::b", "f"] {
        check_native_entry_point(name).unwrap();
    }
    for name in ["", "a b", "it's", "a\nb", "\u{e4}", &"x".repeat(101)] {
        let error = check_native_entry_point(name).unwrap_err().to_string();
        assert!(error.contains(&format!("invalid entry point {name:?}")), "{error}");
    }
}

#[test]
fn only_the_outermost_key_error_is_a_failure() {
    for line in [r#"{"a":{"error":1}}"#, r#"{"errors":1}"#, r#"{"a":"error"}"#, "{}"] {
        assert_eq!(outcome(line.into()).unwrap().as_str(), line);
    }
}

#[test]
fn the_key_error_counts_whatever_its_value() {
    for (line, message) in [
        (r#"{"error":"x","a":1}"#, "x"),
        (r#"{"error":null}"#, "null"),
        (r#"{"error":{}}"#, "{}"),
        (r#"{"error":{"message":7}}"#, r#"{"message":7}"#),
        (r#"{"error":["no rows",null,null]}"#, r#"["no rows",null,null]"#),
        (r#"{"rows":0,"error":"caf\udce9"}"#, "caf\u{fffd}"),
        (r#"{"error":"\ud83d\ude00\ud83d"}"#, "\u{1f600}\u{fffd}"),
        (r#"{"\u0065rror":1}"#, "1"),
    ] {
        let error = outcome(line.into()).unwrap_err();
        assert_eq!((error.kind, &*error.message), (FunctionErrorKind::Raised, message));
    }
}

#[test]
fn an_executable_can_say_that_its_result_is_bad() {
    let line = r#"{"error":{"name":"BadResult","message":"the result holds NaN"}}"#;
    let error = outcome(line.into()).unwrap_err();
    assert_eq!(
        (error.kind, &*error.message),
        (FunctionErrorKind::BadResult, "the result holds NaN")
    );
}

#[test]
fn an_object_names_the_error_and_where_it_happened() {
    let line = r#"{"error":{"name":"NoRows","message":"none","stack":"at main"}}"#;
    for error in [outcome(line.into()).unwrap_err(), acknowledged(line.as_bytes()).unwrap_err()] {
        assert_eq!(error.error_type.as_deref(), Some("NoRows"));
        assert_eq!(error.message, "none");
        assert_eq!(error.trace.as_deref(), Some("at main"));
    }
}

#[test]
fn what_is_not_a_json_object_is_a_bad_result() {
    for line in [
        &b""[..],
        b"{",
        b"null",
        b"7",
        b"\"error\"",
        b"[{\"error\":1}]",
        b"{}{}",
        b"{\"error\":1,}",
        b"{\"error\":1,\"error\":2}",
        b"{\"a\":NaN}",
        b"{\"a\":\"\\ud800\"}",
        b"{\"\\ud800\":1}",
        b"{\"a\":\"\xff\"}",
    ] {
        let error = outcome(Bytes::from_static(line)).unwrap_err();
        assert_eq!(error.kind, FunctionErrorKind::BadResult, "{line:?}");
    }
}

#[test]
fn only_ok_acknowledges_a_start() {
    for line in [&b"{\"ok\":false}"[..], b"{}", b"", b"true", b"[true]", b"{\"ok\":1}", b"\xff"] {
        let error = acknowledged(line).unwrap_err();
        assert_eq!(error.kind, FunctionErrorKind::Initialization, "{line:?}");
    }
}

#[test]
fn a_script_that_no_kernel_starts_is_refused_with_the_reason() {
    for (script, word) in [
        ("#!/bin/sh\r\ncat\r\n", "carriage return"),
        ("#!/bin/sh\r", "carriage return"),
        ("\u{feff}#!/bin/sh\n", "byte order mark"),
        ("cat\n", "#!"),
    ] {
        let archive = Archive::new().with_executable(NATIVE_EXECUTABLE, script).unwrap();
        let error = archive.check_native().unwrap_err();
        assert!(error.to_string().contains(word), "{script:?}: {error}");
    }
    let archive = Archive::new().with_executable(NATIVE_EXECUTABLE, "#!/bin/sh\ncat\r\n").unwrap();
    archive.check_native().unwrap();
}
