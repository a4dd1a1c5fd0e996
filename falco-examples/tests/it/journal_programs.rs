//! Programs that are killed or suspended, and gone on with: over objects, with functions in Rust, and by a signal.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use falco_journal::{JournalConfig, RunJournal, RunState, RunSummary};

use crate::program::{Machine, Printed, has};
use crate::running::Running;
use crate::wordcount::expected;

/// Where a process kills itself.
const KILL_AT: &str = "FALCO_JOURNAL_KILL_AT";

/// A program with a journal, whose processes are killed.
struct Killed<'a> {
    machine: Machine,
    directory: tempfile::TempDir,
    program: &'a str,
    arguments: &'a [&'a str],
}

impl<'a> Killed<'a> {
    fn new(program: &'a str, arguments: &'a [&'a str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { machine: Machine::new(), directory, program, arguments }
    }

    fn journals(&self) -> PathBuf {
        self.directory.path().join("journals")
    }

    /// Runs a process, which kills itself at the nth append, sync or call.
    fn run(&self, more: &[&str], kill_at: Option<u64>) -> Option<Printed> {
        let journal = format!("--journal={}", self.journals().display());
        let mut command = self.machine.command(self.program);
        command.args(self.arguments).args(more).arg(journal).stdin(Stdio::null());
        if let Some(at) = kill_at {
            command.env(KILL_AT, at.to_string());
        }
        let output = command.output().unwrap();
        output.status.code()?;
        Some(Printed::of(output))
    }

    /// The only run that the journals know; none when it died before there was one.
    fn known(&self) -> Option<RunSummary> {
        let runs = RunJournal::list(&JournalConfig::new(self.journals())).unwrap();
        assert!(runs.len() <= 1, "{runs:?}");
        runs.into_iter().next()
    }
}

/// The names of the files in a folder, but for those that begin with `_`.
fn objects(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with('_')).collect()
}

/// The files of a run in the scratch store below an output.
fn scratch(output: &Path, run: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![output.join("_scratch/runs").join(run)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            // A process that is killed within a write leaves the file that object_store writes to first, which nobody reads.
            let is_staged = path.file_name().unwrap().to_string_lossy().contains('#');
            if path.is_dir() {
                folders.push(path);
            } else if !is_staged {
                files.push(path);
            }
        }
    }
    files
}

#[test]
fn a_run_over_objects_goes_on_from_references_and_deletes_what_dead_attempts_wrote() {
    if !has("python3") {
        return;
    }
    let printed = Machine::new().run("wordcount", &["--quiet", "--top", "20"]).ok();
    let mut deaths = 0;
    for (point, next) in [(30, "sequential"), (60, "async")] {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out");
        let output_text = output.to_str().unwrap();
        let arguments = [
            "--quiet",
            "--top",
            "20",
            "--split",
            "20000",
            "--reducers",
            "6",
            "--output",
            output_text,
        ];
        let run = Killed::new("wordcount", &arguments);
        let first = run.run(&["--executor", "parallel"], Some(point));
        deaths += u32::from(first.is_none());
        let id = run.known().unwrap().run;
        // Beside what attempts of the dead process may have written, one that certainly lost.
        std::fs::create_dir_all(&output).unwrap();
        // Names end with a hash of the run, as those of falco-data do.
        let hash = id
            .as_str()
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let lost = format!("part-00000-{id}-1-0123456789ab{hash:08x}.tsv");
        std::fs::write(output.join(lost), "lost").unwrap();
        let done = run.known().unwrap().invocations.done;
        if first.is_none() {
            // References in the journal are worth something only while the objects are there.
            assert!(!scratch(&output, id.as_str()).is_empty());
            let said = run.run(&["--resume", "last", "--executor", next], None).unwrap().ok();
            assert_eq!(said, printed, "killed at {point}");
            let manifest = std::fs::read_to_string(output.join("_manifest.json")).unwrap();
            let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
            let named = manifest["objects"].as_array().unwrap().iter();
            let named = named.map(|object| object["url"].as_str().unwrap().rsplit('/').next());
            let named: BTreeSet<_> = named.map(|name| name.unwrap().to_owned()).collect();
            assert_eq!(objects(&output), named, "only what results name is left");
            assert_eq!(scratch(&output, id.as_str()), Vec::<PathBuf>::new());
            let all = run.known().unwrap().invocations.done;
            assert!(all > done, "killed at {point}: {done} of {all} were done");
        }
        // Once more: everything is recorded, and the output is complete already.
        if point == 30 {
            let again = run.run(&["--resume", "last"], None).unwrap();
            assert!(again.success, "{}", again.stderr);
        }
    }
    assert!(deaths >= 2, "{deaths}");
}

#[test]
fn functions_in_rust_go_on_where_a_killed_process_ended() {
    let expected = expected(&Path::new(env!("CARGO_MANIFEST_DIR")).join("data/texts"));
    let mut deaths = 0;
    for point in [20, 70] {
        let run = Killed::new("wordcount-rs", &["--top", "0", "--quiet"]);
        let first = run.run(&["--executor", "async"], Some(point));
        let done = run.known().unwrap().invocations.done;
        if first.is_none() {
            deaths += 1;
            let said = run.run(&["--resume", "last", "--executor", "parallel"], None).unwrap();
            assert_eq!(said.ok(), expected, "killed at {point}");
        }
        let known = run.known().unwrap();
        assert_eq!(known.state, RunState::Succeeded);
        assert!(first.is_some() || known.invocations.done > done, "{done} of {known:?}");
    }
    assert!(deaths >= 2, "{deaths}");
}

#[test]
fn a_run_that_ctrl_c_suspends_goes_on_by_the_command_that_is_printed() {
    if !has("node") {
        return;
    }
    let machine = Machine::new();
    let directory = tempfile::tempdir().unwrap();
    let journal = format!("--journal={}", directory.path().display());
    let arguments = ["--invocations", "8000", "--samples", "10", "--json", &journal];
    let mut running = Running::start(machine.command("montecarlo").args(arguments));
    running.read_until("throw: started");
    running.send("INT");
    let Printed { success, stderr: said, .. } = running.end();
    assert!(!success, "{said}");
    let command = said.lines().find(|line| line.contains("go on with it by")).unwrap();
    assert!(command.contains(&journal) && command.contains(" --resume "), "{command}");

    let words = [&arguments[..], &["--resume", "last", "--rerun", "failed", "--memory", "512"]];
    let report = machine.run("montecarlo", &words.concat()).json();
    assert_eq!(report["report"]["invocations"]["succeeded"], 8000);
    let runs = RunJournal::list(&JournalConfig::new(directory.path())).unwrap();
    assert_eq!((runs.len(), runs[0].processes, runs[0].invocations.done), (1, 2, 8000));
}
