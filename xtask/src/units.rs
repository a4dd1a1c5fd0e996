//! The compiler's calls of a build, kept so that the documentation is made from what that build has made.
//!
//! `cargo doc` checks all dependencies once more, some 300 crates with which the tests were just built. All that rustdoc needs of
//! them is there already, and only cargo knows in which files. So this program takes the compiler's place in the build of the
//! tests: it keeps the arguments of each call, and becomes clippy's driver, which lints and compiles.

mod sibling;

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::metadata::{self, target_directory};
use crate::shell::root;
pub(crate) use sibling::Sibling;

/// Names the folder of the calls. Where it is set, this program takes the compiler's place.
pub(crate) const VARIABLE: &str = "FALCO_UNITS";

/// Names the program that compiles.
const COMPILER: &str = "FALCO_UNITS_COMPILER";

/// The variables that cargo sets for a crate and that its source may read. No others are kept: they may be secret.
const CRATE_VARIABLES: [&str; 4] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_NAME", "CARGO_BIN_NAME"];

/// The options that rustdoc takes as the compiler does, each with its value in the next argument.
const OPTIONS: [&str; 6] =
    ["--crate-name", "--crate-type", "--cfg", "--check-cfg", "-L", "--extern"];

/// The beginnings of those whose values stand in the same argument.
const BEGINNINGS: [&str; 5] = ["--edition=", "--allow=", "--warn=", "--deny=", "--forbid="];

/// The environment in which cargo calls this program as its compiler, which hands over to `compiler`.
pub(crate) fn environment(compiler: OsString) -> anyhow::Result<Vec<(&'static str, OsString)>> {
    let own = std::env::current_exe().context("the path of this program is unknown")?;
    let folder = folder()?;
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    // Under another name, since the build that it takes part in may replace this program.
    let wrapper = folder.join("compiler");
    // That of an earlier gate, if there is one. Where it stays, the link says why.
    let _ = std::fs::remove_file(&wrapper);
    std::fs::hard_link(own, &wrapper).with_context(|| wrapper.display().to_string())?;
    Ok(vec![
        ("RUSTC_WORKSPACE_WRAPPER", wrapper.into()),
        (VARIABLE, folder.into()),
        (COMPILER, compiler),
    ])
}

/// Keeps the call that this program was started with, and becomes the compiler. Returns only when that does not start.
pub(crate) fn compile(folder: &OsStr) -> anyhow::Error {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(call) = Call::of(&arguments)
        && let Err(error) = std::fs::write(call.file_in(Path::new(folder)), call.to_json())
    {
        // Cargo builds the documentation then.
        eprintln!("a call of the compiler is not kept: {error}");
    }
    let compiler = std::env::var_os(COMPILER).unwrap_or_else(|| "clippy-driver".into());
    let mut command = Command::new(&compiler);
    let error = command.args(arguments).env_remove(VARIABLE).env_remove(COMPILER).exec();
    anyhow::Error::new(error).context(format!("{} does not start", compiler.display()))
}

/// The commands that document the libraries and programs of the crates named, or of all, as `cargo doc --no-deps` does.
///
/// # Errors
///
/// When a call is missing: the compiler was not called in this target directory.
pub(crate) fn documentation(rustdoc: &Path, crates: &[String]) -> anyhow::Result<Vec<Command>> {
    let (folder, output) = (folder()?, target_directory()?.join("doc"));
    let targets = documented(&metadata::ask(&["--no-deps"])?, crates);
    ensure!(!targets.is_empty(), "no crate is documented");
    targets
        .iter()
        .map(|target| Ok(target.call(&folder)?.rustdoc(rustdoc, target, &output)))
        .collect()
}

fn folder() -> anyhow::Result<PathBuf> {
    Ok(target_directory()?.join("units"))
}

/// A library or a program that is documented.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    source: PathBuf,
    is_library: bool,
}

/// The targets that `cargo doc` documents: all libraries, and the programs that do not have the name of a library of their crate.
fn documented(metadata: &Value, crates: &[String]) -> Vec<Target> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let is_library = |target: &Value| list(&target["kind"]).iter().any(|kind| kind == "lib");
    let is_program = |target: &Value| list(&target["kind"]).iter().any(|kind| kind == "bin");
    let crate_name = |target: &Value| target["name"].as_str().unwrap_or_default().replace('-', "_");
    let is_meant =
        |name: &Value| crates.is_empty() || crates.iter().any(|one| name == one.as_str());
    let packages = list(&metadata["packages"]);
    let packages = packages.iter().filter(|package| is_meant(&package["name"]));
    let of_package = |package: &Value| {
        let targets = list(&package["targets"]);
        let library = targets.iter().find(|target| is_library(target)).map(crate_name);
        let documented = targets.iter().filter(|target| {
            let has_own_name = library.as_ref() != Some(&crate_name(target));
            target["doc"] == true && (is_library(target) || is_program(target) && has_own_name)
        });
        let documented = documented.filter_map(|target| {
            let source = PathBuf::from(target["src_path"].as_str()?);
            Some(Target { source, is_library: is_library(target) })
        });
        documented.collect::<Vec<_>>()
    };
    packages.flat_map(of_package).collect()
}

impl Target {
    /// The call that has compiled it, or, for a program that only tests were made of, its tests.
    fn call(&self, folder: &Path) -> anyhow::Result<Call> {
        let own = file_name(&self.source, false);
        let name = match folder.join(&own).exists() || self.is_library {
            true => own,
            false => file_name(&self.source, true),
        };
        let kept = std::fs::read_to_string(folder.join(&name));
        let kept = kept.with_context(|| format!("{} was not compiled", self.source.display()))?;
        Call::from_json(&kept).with_context(|| format!("{name} is damaged"))
    }
}

/// The name under which the call for a source is kept.
fn file_name(source: &Path, is_test: bool) -> String {
    let below_root = source.strip_prefix(root()).unwrap_or(source);
    let name = below_root.to_string_lossy().replace('/', "+");
    format!("{name}.{}.json", if is_test { "test" } else { "build" })
}

/// A call of the compiler: its arguments, and the variables of the crate.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
}

impl Call {
    /// The call that these arguments of a wrapper are; `None` where nothing is compiled, and cargo only asks.
    fn of(arguments: &[OsString]) -> Option<Self> {
        let arguments = arguments.get(1..)?.iter().map(|argument| argument.to_str());
        let arguments: Vec<String> =
            arguments.map(|text| Some(text?.to_owned())).collect::<Option<_>>()?;
        let is_of_crate =
            |name: &str| CRATE_VARIABLES.iter().any(|beginning| name.starts_with(beginning));
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let variables = variables.filter(|(name, _)| is_of_crate(name)).collect();
        let call = Self { arguments, variables };
        call.source().is_some().then_some(call)
    }

    fn source(&self) -> Option<&str> {
        self.arguments.iter().map(String::as_str).find(|argument| is_source(argument))
    }

    fn file_in(&self, folder: &Path) -> PathBuf {
        // Cargo names it from the workspace's root on.
        let source = root().join(self.source().unwrap_or_default());
        let is_test = self.arguments.iter().any(|argument| argument == "--test");
        folder.join(file_name(&source, is_test))
    }

    fn to_json(&self) -> String {
        json!({ "arguments": self.arguments, "variables": self.variables }).to_string()
    }

    fn from_json(text: &str) -> anyhow::Result<Self> {
        let mut kept: Value = serde_json::from_str(text)?;
        Ok(Self {
            arguments: serde_json::from_value(kept["arguments"].take())?,
            variables: serde_json::from_value(kept["variables"].take())?,
        })
    }

    /// The command that documents what this call has compiled.
    fn rustdoc(&self, rustdoc: &Path, target: &Target, output: &Path) -> Command {
        let mut command = Command::new(rustdoc);
        command.current_dir(root()).args(self.shared_arguments()).arg("--out-dir").arg(output);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Some((_, version)) =
            self.variables.iter().find(|(name, _)| name == "CARGO_PKG_VERSION")
        {
            command.args(["--crate-version", version]);
        }
        if !target.is_library {
            // As cargo does: nobody else can use what is in a program.
            command.arg("--document-private-items");
        }
        if !self.arguments.iter().any(|argument| argument == "--crate-type") {
            // It has compiled the tests of a program.
            command.args(["--crate-type", "bin"]);
        }
        command.args(["-D", "warnings"]);
        command
    }

    /// The arguments that mean the same to rustdoc.
    fn shared_arguments(&self) -> Vec<&str> {
        let mut shared = Vec::new();
        let mut arguments = self.arguments.iter().map(String::as_str);
        while let Some(argument) = arguments.next() {
            if OPTIONS.contains(&argument) {
                shared.push(argument);
                shared.extend(arguments.next());
            } else if is_source(argument)
                || BEGINNINGS.iter().any(|beginning| argument.starts_with(beginning))
            {
                shared.push(argument);
            }
        }
        shared
    }
}

fn is_source(argument: &str) -> bool {
    argument.ends_with(".rs") && !argument.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call as cargo makes it, of a library with this source.
    fn call(source: &Path) -> Call {
        let source = source.to_str().unwrap();
        let arguments = [
            "/bin/rustc",
            "--crate-name",
            "one",
            "--edition=2024",
            source,
            "--error-format=json",
            "--json=diagnostic-rendered-ansi,artifacts",
            "--crate-type",
            "lib",
            "--emit=dep-info,metadata,link",
            "-C",
            "embed-bitcode=no",
            "--warn=missing_docs",
            "--deny=rustdoc::broken_intra_doc_links",
            "--warn=clippy::unwrap_used",
            "--cfg",
            "feature=\"a\"",
            "--check-cfg",
            "cfg(feature, values(\"a\"))",
            "-C",
            "metadata=17",
            "--out-dir",
            "/nowhere/deps",
            "-L",
            "dependency=/nowhere/deps",
        ];
        Call::of(&arguments.map(OsString::from)).unwrap()
    }

    #[test]
    fn a_call_is_kept_whole_and_under_the_path_of_its_source() {
        let kept = call(Path::new("falco-core/src/lib.rs"));
        assert_eq!(Call::from_json(&kept.to_json()).unwrap(), kept);
        let has = |wanted: &str| kept.variables.iter().any(|(name, _)| name == wanted);
        assert!(has("CARGO_MANIFEST_DIR") && !has("PATH"), "{:?}", kept.variables);
        let name = "falco-core+src+lib.rs.build.json";
        assert_eq!(kept.file_in(Path::new("/units")), Path::new("/units").join(name));
        let mut tests = kept;
        tests.arguments.push("--test".into());
        let name = "falco-core+src+lib.rs.test.json";
        assert_eq!(tests.file_in(Path::new("/units")), Path::new("/units").join(name));
    }

    #[test]
    fn a_question_of_cargo_is_not_a_call() {
        for question in
            [&["/bin/rustc", "-vV"][..], &["/bin/rustc", "-", "--crate-name", "___"], &[]]
        {
            let arguments: Vec<OsString> = question.iter().map(OsString::from).collect();
            assert_eq!(Call::of(&arguments), None, "{question:?}");
        }
    }

    #[test]
    fn documentation_is_made_from_a_call_and_a_broken_link_fails() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("one.rs");
        let output = folder.path().join("doc");
        let target = Target { source: source.clone(), is_library: true };
        let document = |text: &str| {
            std::fs::write(&source, text).unwrap();
            let mut rustdoc = call(&source).rustdoc(Path::new("rustdoc"), &target, &output);
            rustdoc.output().unwrap()
        };
        let text = "//! One: [`b`].\n/// Two.\n#[cfg(feature = \"a\")]\npub fn a() {}\n";
        let broken = document(text);
        let said = String::from_utf8_lossy(&broken.stderr);
        assert!(!broken.status.success() && said.contains("unresolved link to `b`"), "{said}");
        let whole = document(&text.replace("`b`", "`a`"));
        assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stderr));
        assert!(output.join("one/fn.a.html").is_file());
    }

    #[test]
    fn libraries_are_documented_and_programs_that_have_not_their_name() {
        let target = |name: &str, kind: &str, doc: bool| {
            let source = format!("/{name}.{kind}");
            json!({ "name": name, "kind": [kind], "src_path": source, "doc": doc })
        };
        let targets = [
            target("a-b", "lib", true),
            target("a_b", "bin", true),
            target("c", "bin", true),
            target("d", "bin", false),
            target("e", "example", true),
        ];
        let packages = [
            json!({ "name": "a-b", "targets": targets }),
            json!({ "name": "other", "targets": [target("f", "bin", true)] }),
        ];
        let metadata = json!({ "packages": packages });
        let sources = |crates: &[String]| -> Vec<String> {
            let targets = documented(&metadata, crates);
            targets.iter().map(|target| target.source.display().to_string()).collect()
        };
        assert_eq!(sources(&[]), ["/a-b.lib", "/c.bin", "/f.bin"]);
        assert_eq!(sources(&["other".to_owned()]), ["/f.bin"]);
    }

    #[test]
    fn a_source_that_was_not_compiled_is_named_and_the_tests_of_a_program_stand_in_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let source = PathBuf::from("/x/main.rs");
        let missing = |is_library: bool| {
            let target = Target { source: source.clone(), is_library };
            target.call(folder.path()).map_err(|error| error.to_string())
        };
        assert_eq!(missing(false), Err("/x/main.rs was not compiled".to_owned()));
        let mut tests = call(&source);
        tests.arguments.push("--test".into());
        std::fs::write(tests.file_in(folder.path()), tests.to_json()).unwrap();
        assert_eq!(missing(false), Ok(tests));
        assert_eq!(missing(true), Err("/x/main.rs was not compiled".to_owned()));
    }
}
