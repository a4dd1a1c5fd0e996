//! A crate outside of the workspace, compiled as one of its crates was.

use std::path::Path;
use std::process::Command;

use anyhow::Context;

use super::{Call, file_name, folder, is_source};
use crate::shell::root;

/// The beginnings of arguments for cargo only, and of those that name files after their content.
const OF_CARGO: [&str; 6] = [
    "--error-format=",
    "--json=",
    "--diagnostic-width=",
    "metadata=",
    "extra-filename=",
    "incremental=",
];

/// A crate that has the dependencies, features and lints of another one.
#[derive(Debug)]
pub(crate) struct Sibling<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// The name of the other crate, a member of the workspace.
    pub(crate) model: &'a str,
    /// Where its sources are.
    pub(crate) folder: &'a Path,
    /// Where what is compiled goes.
    pub(crate) output: &'a Path,
}

impl Sibling<'_> {
    /// The command by which `compiler`, clippy's driver, compiles a source, `src/lib.rs` or a test program, as the other crate's
    /// source of this name was compiled. A warning is an error.
    ///
    /// # Errors
    ///
    /// When that call is missing: the compiler was not called in this target directory.
    pub(crate) fn compile(&self, compiler: &Path, source: &str) -> anyhow::Result<Command> {
        let own = root().join(self.model).join(source);
        let name = file_name(&own, source != "src/lib.rs");
        let kept = std::fs::read_to_string(folder()?.join(&name));
        let kept = kept.with_context(|| format!("{} was not compiled", own.display()))?;
        let call = Call::from_json(&kept).with_context(|| format!("{name} is damaged"))?;
        let mut command = Command::new(compiler);
        command.arg("rustc").args(self.arguments(&call, source)).args(["-D", "warnings"]);
        command.current_dir(root()).envs(call.variables);
        command.env("CARGO_PKG_NAME", self.name).env("CARGO_MANIFEST_DIR", self.folder);
        Ok(command)
    }

    fn arguments(&self, call: &Call, source: &str) -> Vec<String> {
        let (name, model) = (self.name.replace('-', "_"), self.model.replace('-', "_"));
        let is_cargos = |argument: &str| OF_CARGO.iter().any(|one| argument.starts_with(one));
        let mut own = Vec::new();
        let mut arguments = call.arguments.iter().map(String::as_str);
        while let Some(argument) = arguments.next() {
            // Options whose values matter here stand apart from them.
            let value = match argument {
                "--crate-name" | "--out-dir" | "--extern" | "-C" => {
                    arguments.next().unwrap_or_default()
                }
                _ if is_cargos(argument) => continue,
                _ if is_source(argument) => {
                    own.push(self.folder.join(source).display().to_string());
                    continue;
                }
                _ => {
                    own.push(argument.to_owned());
                    continue;
                }
            };
            let value = match argument {
                "-C" if is_cargos(value) => continue,
                "--out-dir" => self.output.display().to_string(),
                "--crate-name" if value == model => name.clone(),
                // Its library takes the place of the other crate's.
                "--extern" if value.starts_with(&format!("{model}=")) => {
                    format!("{name}={}", self.output.join(format!("lib{name}.rlib")).display())
                }
                _ => value.to_owned(),
            };
            own.extend([argument.to_owned(), value]);
        }
        own
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    #[test]
    fn a_sibling_is_compiled_with_the_other_crates_options_into_a_folder_of_its_own() {
        let call = [
            "/bin/rustc",
            "--crate-name",
            "it",
            "--edition=2024",
            "falco-one/tests/it/main.rs",
            "--error-format=json",
            "--json=artifacts",
            "-C",
            "embed-bitcode=no",
            "-C",
            "metadata=17",
            "-C",
            "incremental=/nowhere",
            "--test",
            "--warn=missing_docs",
            "--out-dir",
            "/deps",
            "--extern",
            "falco_core=/deps/libfalco_core-1.rlib",
            "--extern",
            "falco_one=/deps/libfalco_one-1.rlib",
        ];
        let call = Call::of(&call.map(OsString::from)).unwrap();
        let (folder, output) = (Path::new("/made"), Path::new("/out"));
        let sibling = Sibling { name: "falco-two", model: "falco-one", folder, output };
        let expected = [
            "--crate-name",
            "it",
            "--edition=2024",
            "/made/tests/it/main.rs",
            "-C",
            "embed-bitcode=no",
            "--test",
            "--warn=missing_docs",
            "--out-dir",
            "/out",
            "--extern",
            "falco_core=/deps/libfalco_core-1.rlib",
            "--extern",
            "falco_two=/out/libfalco_two.rlib",
        ];
        assert_eq!(sibling.arguments(&call, "tests/it/main.rs"), expected);
        let library = ["/bin/rustc", "--crate-name", "falco_one", "falco-one/src/lib.rs"];
        let library = Call::of(&library.map(OsString::from)).unwrap();
        let expected = ["--crate-name", "falco_two", "/made/src/lib.rs"];
        assert_eq!(sibling.arguments(&library, "src/lib.rs"), expected);
    }

    #[test]
    fn a_crate_that_was_not_compiled_is_named() {
        let here = Path::new("/");
        let sibling = Sibling { name: "two", model: "no-crate", folder: here, output: here };
        let error = sibling.compile(Path::new("clippy-driver"), "src/lib.rs").unwrap_err();
        assert!(error.to_string().ends_with("no-crate/src/lib.rs was not compiled"), "{error}");
    }
}
