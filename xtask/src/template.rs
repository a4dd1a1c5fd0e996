//! `cargo xtask template`: what `new-platform` makes, inside and outside of the workspace, is what it promises. The gate tries
//! the part of it that takes seconds ([`build`]).

mod built;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::shell::{check, no_arguments, root, step};
pub(crate) use built::build;

/// Makes a platform in a copy of the workspace and one outside of it, and removes both.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    no_arguments("template", arguments)?;
    let place = root().join("target/template");
    // What an interrupted run left.
    let _ = fs::remove_dir_all(place.join("falco"));
    let _ = fs::remove_dir_all(place.join("outside"));
    let verdict = inside(&place.join("falco")).and_then(|()| outside(&place.join("outside")));
    let removed = [place.join("falco"), place.join("outside")].map(fs::remove_dir_all);
    verdict?;
    for removed in removed {
        removed.context("cannot remove what was made")?;
    }
    Ok(())
}

/// A member of a workspace like this one: it passes the lint, and its tests say what comes next.
fn inside(copy: &Path) -> anyhow::Result<()> {
    check("copy of the workspace", || copy_workspace(copy))?;
    step("new-platform", &mut cargo_in(copy, &["xtask", "new-platform", "fission"]))?;
    step("its lint", &mut cargo_in(copy, &["xtask", "lint", "--package", "falco-fission"]))?;
    check("its tests", || tests_give_directions(copy, &["--package", "falco-fission"]))?;
    let features = ["--no-default-features", "--features", "falco/fission,falco-cli/fission"];
    let check_listed = ["check", "--quiet", "--package", "falco", "--package", "falco-cli"];
    step("facade and flags", &mut cargo_in(copy, &[&check_listed[..], &features].concat()))?;
    check("its holes", || fill_in(&copy.join("falco-fission")))?;
    let test = ["test", "--quiet", "--package", "falco-fission", "--test", "it"];
    step("its tests, with the holes filled in", &mut cargo_in(copy, &test))?;
    check("its length", || lines_of(&copy.join("falco-fission")).map(drop))
}

/// A whole platform has fewer lines, tests included.
const MOST_LINES: usize = 900;

/// The code for each hole of the template, for the gateway that its fake is.
const FILLED: &[(&str, &str)] = &[
    (
        "let _ = stored;\n            Err::<(), _>(next(\"deploy\"))?;",
        "let path = [\"functions\", function.name.as_str()];\n            \
         success(self.api.send_json(Method::PUT, &path, &stored).await?)?;",
    ),
    (
        "Err(next(\"fetch_deployment\"))",
        "let reply = self.api.send(Method::GET, &[\"functions\", name], None).await?;\n            \
         let strangers = || Error::new(ErrorKind::NotFound, \"the function there is not Falco's\");\n            \
         deployment(&success(reply)?.json()?).ok_or_else(strangers)",
    ),
    (
        "Err(next(\"list_deployments\"))",
        "let reply = self.api.send(Method::GET, &[\"functions\"], None).await?;\n            \
         Ok(success(reply)?.json::<Vec<Function>>()?.iter().filter_map(deployment).collect())",
    ),
    (
        "Err(next(\"remove\"))",
        "let path = [\"functions\", deployment.name.as_str()];\n            \
         success(self.api.send(Method::DELETE, &path, None).await?).map(drop)",
    ),
    (
        "Err(next(\"invoke\"))",
        "let path = [\"functions\", deployment.name.as_str()];\n            \
         let argument = invocation.payload().to_bytes().to_vec();\n            \
         let reply = self.api.send(Method::POST, &path, Some(argument)).await?;\n            \
         activation(&reply)",
    ),
    (
        "use crate::package::{RUNTIMES, package};",
        "use crate::package::{RUNTIMES, deployment, package};\nuse crate::wire::Function;",
    ),
    // With the last hole, the error that names it goes, too.
    (
        "/// An error that says which method to write next.\nfn next(method: &str) -> Error {\n    \
         Error::unsupported(format!(\"{method} is to be implemented next\"))\n        \
         .with_hint(format!(\"write Fission::{method} in src/platform.rs\"))\n}\n\n",
        "",
    ),
    (
        "use crate::client::{LONGEST_RUN, api, success};",
        "use crate::answer::activation;\nuse crate::client::{LONGEST_RUN, api, success};",
    ),
];

/// Writes the methods that the template leaves open, as its reader does.
fn fill_in(folder: &Path) -> anyhow::Result<()> {
    let path = folder.join("src/platform.rs");
    let mut text = fs::read_to_string(&path)?;
    for (hole, code) in FILLED {
        ensure!(text.matches(hole).count() == 1, "the template has not one {hole:?}");
        text = text.replace(hole, code);
    }
    fs::write(path, text)?;
    let path = folder.join("src/lib.rs");
    let text = fs::read_to_string(&path)?;
    // Nothing is dead any more.
    let (before, rest) = text.split_once("#![allow(").context("lib.rs allows nothing")?;
    let (_, after) = rest.split_once(")]\n").context("lib.rs is cut off")?;
    Ok(fs::write(path, [before, after].concat())?)
}

/// How many lines a platform has, its tests included; an error where these are too many.
fn lines_of(folder: &Path) -> anyhow::Result<usize> {
    let mut lines = 0;
    for part in ["src", "tests/it"] {
        for file in fs::read_dir(folder.join(part))? {
            lines += fs::read_to_string(file?.path())?.lines().count();
        }
    }
    println!("a whole platform has {lines} lines, tests included");
    ensure!(lines < MOST_LINES, "that is not below {MOST_LINES}");
    Ok(lines)
}

/// A crate of its own, as a stranger has it.
fn outside(place: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(place)?;
    let place_text = place.to_str().context("the folder's name is not UTF-8")?;
    crate::new_platform::run(&["fission".into(), "--path".into(), place_text.into()])?;
    let folder = place.join("falco-fission");
    // This checkout stands in for the repository, which cargo would fetch even where a patch replaces all of it.
    let manifest = folder.join("Cargo.toml");
    let text = fs::read_to_string(&manifest)?;
    let of_checkout = |line: &str| match line.split_once(" = { version = ") {
        Some((name, _)) if name.starts_with("falco-") => {
            format!("{name} = {{ path = {:?} }}\n", root().join(name).display().to_string())
        }
        _ => format!("{line}\n"),
    };
    fs::write(&manifest, text.lines().map(of_checkout).collect::<String>())?;
    // The versions that the workspace was tested with.
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock"))?;
    step("its format", &mut cargo_in(&folder, &["fmt", "--check"]))?;
    let clippy = ["clippy", "--quiet", "--all-targets", "--", "-D", "warnings"];
    step("its clippy", &mut cargo_in(&folder, &clippy))?;
    check("its tests", || tests_give_directions(&folder, &[]))
}

/// The suite has to fail, and each method that is missing has to be named with the file it belongs into.
fn tests_give_directions(folder: &Path, selection: &[&str]) -> anyhow::Result<()> {
    let mut test = cargo_in(folder, &["test", "--quiet", "--test", "it"]);
    let output = test.args(selection).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "an empty platform passes the suite");
    for direction in [
        "a_deployed_function_answers, on ",
        "(write Fission::deploy in src/platform.rs)",
        "(write Fission::fetch_deployment in src/platform.rs)",
        "test result: FAILED",
    ] {
        ensure!(said.contains(direction), "the tests do not say {direction:?}:\n{said}");
    }
    Ok(())
}

/// Every file that git knows or would take up, as it is now.
fn copy_workspace(to: &Path) -> anyhow::Result<()> {
    let mut list = Command::new("git");
    list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let output = list.current_dir(root()).output().context("git lists the files to copy")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for path in String::from_utf8(output.stdout)?.split_terminator('\0') {
        let (from, to) = (root().join(path), to.join(path));
        // What is deleted and not committed is still listed.
        if from.is_file() {
            fs::create_dir_all(to.parent().unwrap_or(&to))?;
            fs::copy(&from, &to).with_context(|| path.to_owned())?;
        }
    }
    // Else the copy, which lies under `target`, is ignored as a whole, and its spelling with it.
    step("repository", Command::new("git").args(["init", "--quiet"]).current_dir(to))?;
    // Tools need not be installed anew.
    let tools = root().join("target/tools");
    if tools.is_dir() {
        fs::create_dir_all(to.join("target"))?;
        let link =
            Command::new("ln").arg("-s").arg(&tools).arg(to.join("target/tools")).status()?;
        ensure!(link.success(), "cannot link {}", tools.display());
    }
    Ok(())
}

/// All of it builds into one folder, which stays: most of it are crates of the registry.
fn cargo_in(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = crate::shell::cargo(arguments);
    command.current_dir(folder).env("CARGO_TARGET_DIR", root().join("target/template/target"));
    command
}
