use std::io::Read;

use super::*;

fn packed(function: &Deployable, protocol: Protocol) -> Bundle {
    pack(function, protocol, &ImageInspect::default()).unwrap()
}

fn python(source: &str) -> Deployable {
    Deployable::python("f", source)
}

fn paths(bundle: &Bundle) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    for entry in tar::Archive::new(&bundle.tar[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        let path = entry.path().unwrap().display().to_string();
        found.push((path, entry.header().mode().unwrap()));
    }
    found
}

#[test]
fn the_same_code_has_the_same_version_and_other_code_another() {
    let version = |source, protocol| packed(&python(source), protocol).version;
    assert_eq!(version("a = 1", Protocol::Pipe), version("a = 1", Protocol::Pipe));
    assert_ne!(version("a = 1", Protocol::Pipe), version("a = 2", Protocol::Pipe));
    assert_ne!(version("a = 1", Protocol::Pipe), version("a = 1", Protocol::Lambda));
    let with = |arguments: [&str; 1]| Image::new("a:1").with_arguments(arguments);
    let image = |arguments| Deployable::from_image("f", with(arguments));
    let version = |arguments| packed(&image(arguments), Protocol::Pipe).version;
    assert_ne!(version(["a"]), version(["b"]));
}

#[test]
fn the_files_are_where_the_protocol_looks_for_them() {
    let function = python("a = 1");
    let pipe = packed(&function, Protocol::Pipe);
    let shim = ("falco/falco_shim.py".to_owned(), 0o644);
    assert_eq!(paths(&pipe), [shim, ("falco/function/main__.py".into(), 0o644)]);
    let action = packed(&function, Protocol::Action);
    assert_eq!(paths(&action), [("falco/init.json".into(), 0o644)]);
    assert_eq!((action.entrypoint, action.command), (None, None));
    let lambda = packed(&function, Protocol::Lambda);
    assert_eq!(paths(&lambda)[0].0, "var/task/falco_handler.py");
    assert_eq!(lambda.command, Some(vec!["falco_handler.main".into()]));
}

#[test]
fn an_image_runs_its_own_program_with_its_own_arguments_or_those_of_the_function() {
    let config = ImageConfig {
        entrypoint: Some(vec!["/serve".into()]),
        cmd: Some(vec!["-a".into()]),
        ..ImageConfig::default()
    };
    let base = ImageInspect { config: Some(config), ..ImageInspect::default() };
    let command = |image: Image, protocol| {
        let function = Deployable::from_image("f", image);
        pack(&function, protocol, &base).unwrap().command.unwrap_or_default()
    };
    assert_eq!(command(Image::new("a"), Protocol::Pipe), ["/serve", "-a"]);
    let other = Image::new("a").with_arguments(["-b"]);
    assert_eq!(command(other.clone(), Protocol::Pipe), ["/serve", "-b"]);
    assert_eq!(command(other, Protocol::Lambda), ["-b"]);
    assert!(command(Image::new("a"), Protocol::Lambda).is_empty());
    let nothing = Deployable::from_image("f", "a");
    let error = pack(&nothing, Protocol::Pipe, &ImageInspect::default()).err().unwrap();
    assert!(error.to_string().contains("names no program"), "{error}");
}

#[test]
fn folders_are_mounted_under_their_own_paths() {
    use falco_core::Folder;

    let function = python("a = 1")
        .with_folder(Folder::read_only("/data/in"))
        .with_folder(Folder::writable("/data/out"));
    let with = packed(&function, Protocol::Pipe);
    assert_eq!(with.binds, ["/data/in:/data/in:ro", "/data/out:/data/out:rw"]);
    assert_ne!(with.settings("k"), packed(&python("a = 1"), Protocol::Pipe).settings("k"));
}

#[test]
fn a_hash_of_variables_confirms_no_guess_without_its_key() {
    for protocol in [Protocol::Pipe, Protocol::Lambda, Protocol::Action] {
        let with = |value| packed(&python("a = 1").with_env("SECRET", value), protocol);
        let (one, other) = (with("one"), with("other"));
        assert_eq!(one.version, other.version, "what reports show is the same for each value");
        assert_eq!(one.settings("k"), with("one").settings("k"));
        assert_ne!(one.settings("k"), other.settings("k"));
        assert_ne!(one.settings("k"), one.settings("another key"));
    }
}

#[test]
fn variables_stand_in_the_image_or_go_with_the_code() {
    let function = python("a = 1").with_env("KEY", "value");
    for protocol in [Protocol::Pipe, Protocol::Lambda] {
        assert_eq!(packed(&function, protocol).environment, ["KEY=value"]);
    }
    let action = packed(&function, Protocol::Action);
    assert!(action.environment.is_empty());
    assert!(String::from_utf8_lossy(&action.tar).contains(r#""env":{"KEY":"value"}"#));
}

#[test]
fn an_executable_has_to_fit_the_image_and_not_this_machine() {
    let program = std::fs::read("/bin/sh").unwrap();
    let code = Archive::new().with_executable(NATIVE_EXECUTABLE, program).unwrap();
    let function = Deployable::from_archive("f", "native".parse().unwrap(), code.to_zip().unwrap());
    let (own, another) = match Machine::current() {
        Machine::Aarch64 => ("arm64", "amd64"),
        _ => ("amd64", "arm64"),
    };
    let on = |architecture: &str, protocol| {
        let base = ImageInspect { architecture: Some(architecture.into()), ..Default::default() };
        pack(&function, protocol, &base)
    };
    for protocol in [Protocol::Pipe, Protocol::Lambda, Protocol::Action] {
        assert!(on(own, protocol).is_ok(), "{protocol:?}");
        let error = on(another, protocol).err().unwrap().to_string();
        assert!(error.contains("the image runs on"), "{protocol:?}: {error}");
    }
}
