//! Lists, pruning, secrets, and the files themselves.

use std::fs;
use std::path::Path;
use std::time::Duration;

use falco_core::{ErrorKind, Event, Journal, Monitor, Platform, Recalled};
use falco_journal::{Keeping, ResumeOptions, RunJournal, RunState};

use crate::support::{
    RUN, begin_stage, config, create, function, in_memory, invocation, payload, plan, resume,
    stage, succeed,
};

fn finish(journal: &RunJournal, error: Option<&falco_core::Error>) {
    let _ = journal.event(&Event::RunFinished { run: &RUN.into(), error });
}

#[test]
fn a_run_is_listed_by_what_it_does_and_how_it_ended() {
    let directory = tempfile::tempdir().unwrap();
    let state = || RunJournal::list(&config(directory.path())).unwrap()[0].state;
    assert!(RunJournal::list(&config(directory.path())).unwrap().is_empty());
    let journal = create(directory.path());
    assert_eq!(state(), RunState::Running);
    let error =
        RunJournal::resume(&config(directory.path()), &RUN.into(), ResumeOptions::default());
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Conflict);
    drop(journal);
    assert_eq!(state(), RunState::Interrupted);
    let journal = resume(directory.path());
    journal.suspend();
    finish(&journal, None);
    drop(journal);
    assert_eq!(state(), RunState::Suspended);
    let journal = resume(directory.path());
    finish(&journal, Some(&falco_core::Error::invalid_input("a reason")));
    drop(journal);
    assert_eq!(state(), RunState::Failed);
    let journal = resume(directory.path());
    begin_stage(&journal, "map");
    succeed(&journal, invocation("map", "1", 1), payload(2));
    finish(&journal, None);
    drop(journal);
    let summary = RunJournal::list(&config(directory.path())).unwrap().remove(0);
    assert_eq!(summary.state, RunState::Succeeded);
    assert_eq!((summary.processes, summary.invocations.done), (4, 1));
    assert_eq!(summary.name, "test");
    RunJournal::abandon(&config(directory.path()), &RUN.into()).unwrap();
    assert_eq!(state(), RunState::Abandoned);
    let json = serde_json::to_string(&summary).unwrap();
    assert!(json.contains(r#""state":"succeeded""#), "{json}");
}

#[test]
fn the_last_run_is_the_newest_of_its_pipeline() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    assert_eq!(RunJournal::latest(&config).unwrap_err().kind(), ErrorKind::NotFound);
    for run in ["6553f100-00000001", "6553f200-00000001"] {
        RunJournal::create(&config, run.into()).unwrap();
    }
    let other = config.clone().with_name("other");
    RunJournal::create(&other, "6553f300-00000001".into()).unwrap();
    assert_eq!(RunJournal::latest(&config).unwrap(), "6553f200-00000001");
    assert_eq!(RunJournal::latest(&other).unwrap(), "6553f300-00000001");
    let error = RunJournal::create(&config, "6553f100-00000001".into()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    for run in ["", "../x", "a/b"] {
        assert_eq!(
            RunJournal::create(&config, run.into()).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }
}

#[test]
fn pruning_keeps_what_is_young_and_what_runs() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    let done = create(directory.path());
    finish(&done, None);
    drop(done);
    let running = RunJournal::create(&config, "6553f200-00000001".into()).unwrap();
    let interrupted = RunJournal::create(&config, "6553f300-00000001".into()).unwrap();
    drop(interrupted);
    assert!(RunJournal::prune(&config, &Keeping::default()).unwrap().runs.is_empty());
    let keeping = Keeping::default().with_finished(Duration::ZERO);
    let pruned = RunJournal::prune(&config, &keeping).unwrap();
    assert_eq!(pruned.runs.iter().map(|it| it.run.as_str()).collect::<Vec<_>>(), [RUN]);
    let pruned = RunJournal::prune(&config, &keeping.with_bytes(0)).unwrap();
    assert_eq!(pruned.runs.len(), 1, "{pruned:?}");
    let left = RunJournal::list(&config).unwrap();
    assert_eq!(left.iter().map(|it| it.run.as_str()).collect::<Vec<_>>(), ["6553f200-00000001"]);
    drop(running);
}

#[test]
fn pruning_by_size_takes_no_run_that_can_go_on_for_one_that_is_over_or_does_not_fit() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    // The size is that of a file without content.
    let run = |id: &'static str, kib: u64, is_over: bool| {
        let journal = RunJournal::create(&config, id.into()).unwrap();
        if is_over {
            finish(&journal, None);
        }
        drop(journal);
        let long = config.directory().join(id).join("long");
        std::fs::File::create(long).unwrap().set_len(kib << 10).unwrap();
        // Runs of one millisecond are in the order of their ids.
        id
    };
    let oldest = run("6553f100-00000001", 400, false);
    let older = run("6553f200-00000001", 700, false);
    let old_and_over = run("6553f300-00000001", 2_000, true);
    let over = run("6553f400-00000001", 600, true);
    let newest = run("6553f500-00000001", 2_000, false);
    let prune = |kib: u64| {
        let keeping = Keeping::default().with_bytes(kib << 10);
        let pruned = RunJournal::prune(&config, &keeping).unwrap().runs;
        let mut pruned: Vec<_> = pruned.iter().map(|it| it.run.to_string()).collect();
        pruned.sort();
        pruned
    };
    assert_eq!(prune(1_500), [old_and_over, over, newest], "the other two fit, and both can go on");
    assert_eq!(prune(1_000), [oldest], "the newer one has the room");
    assert_eq!(prune(1_000), Vec::<String>::new());
    assert!(config.directory().join(older).exists());
}

#[cfg(unix)]
#[tokio::test]
async fn no_secret_is_in_any_file_and_only_the_owner_can_read_them() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = tempfile::tempdir().unwrap();
    let platform = in_memory();
    let journal = create(directory.path());
    let mut secretive = stage("map");
    secretive.function = function("def main(args): return args").with_env("KEY", "marked-secret");
    journal.begin(&plan(vec![secretive.clone()]), &platform, None).unwrap();
    let layered = journal.clone().layer(platform.clone());
    let deployment = layered.deploy(&secretive.function).await.unwrap();
    begin_stage(&journal, "map");
    let argument = falco_core::Payload::from_bytes(r#"{"argument":"marked-secret"}"#).unwrap();
    let invocation = falco_core::Invocation::new(RUN, "map", "1", argument);
    layered.submit(&deployment, &invocation).await.unwrap();
    let long = serde_json::json!({"text": "x".repeat(100_000)});
    succeed(&journal, invocation, falco_core::Payload::json(&long).unwrap());
    journal.flush().await.unwrap();
    let mut seen = 0;
    check(directory.path(), &mut seen);
    assert!(seen >= 4, "{seen}");

    fn check(path: &Path, seen: &mut u32) {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            if path.is_dir() {
                assert_eq!(mode, 0o700, "{path:?}");
                check(&path, seen);
                continue;
            }
            *seen += 1;
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            assert!(!text.contains("marked-secret"), "{path:?}");
            let is_private = mode == 0o600 || path.ends_with("owner.json");
            assert!(is_private, "{path:?} {mode:o}");
        }
    }
}

/// A journal of one process with these records after its header.
fn written(directory: &Path, header: &str, records: &[&str]) -> std::path::PathBuf {
    let run = directory.join(RUN);
    fs::create_dir_all(&run).unwrap();
    fs::write(run.join("lock"), "").unwrap();
    let line = |json: &&str| format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes()));
    let text: String = [header].iter().chain(records).map(line).collect();
    fs::write(run.join("000001.log"), &text).unwrap();
    run.join("000001.log")
}

#[test]
fn both_forms_of_version_1_are_read_and_an_unknown_record_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let plan = r#"{"k":"p","platform":"in-memory","stages":[{"s":0,"name":"map","idempotent":false,"pure":false,"function":{"name":"work","runtime":"python:3","entry":"main","code":"ab"}}]}"#;
    let stage = r#"{"k":"n","s":0,"name":"map","deployment":"work-6553f100-0000beef"}"#;
    // The argument {"n":1}.
    let intent = r#"{"k":"i","s":0,"i":"1","h":"K_0U9D0X_HzqJOCReoh5tA","o":"s"}"#;
    let forms = [
        (
            r#"{"k":"h","v":1,"run":"6553f100-0000beef","epoch":1,"name":"test","at":1700000000000000}"#,
            [
                r#"{"k":"s","s":0,"i":"1","h":"K_0U9D0X_HzqJOCReoh5tA","p":["a-1",1700000000000100]}"#,
                r#"{"k":"c","s":0,"i":"1","h":"K_0U9D0X_HzqJOCReoh5tA","q":1700000000000100,"l":1000,"a":{"id":"a-1","outcome":{"Ok":{"n":2}},"started_at":1700000000000200,"wait":{"secs":0,"nanos":5},"cost":0.5},"new":1}"#,
                r#"{"k":"s","s":0,"i":"2","h":"K_0U9D0X_HzqJOCReoh5tA","p":["a-2",1700000000000100]}"#,
            ],
        ),
        (
            r#"{"k":"h","v":1,"run":"6553f100-0000beef","epoch":1,"name":"test","at":1700000000000000,"base":1700000000000000}"#,
            [
                r#"{"k":"s","s":0,"i":"1","h":"K_0U9D0X_HzqJOCReoh5tA","p":["a-1",100]}"#,
                r#"{"k":"c","s":0,"i":"1","h":"K_0U9D0X_HzqJOCReoh5tA","q":100,"l":1000,"r":"a-1","v":{"n":2},"t":[100,null,5],"m":{"cost":0.5,"new":1},"new":1}"#,
                r#"{"k":"s","s":0,"i":"2","h":"K_0U9D0X_HzqJOCReoh5tA","p":["a-2",100]}"#,
            ],
        ),
    ];
    let at =
        |micros: u64| std::time::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_000 + micros);
    let mut activation = falco_core::Activation::succeeded("a-1", payload(2));
    activation.started_at = Some(at(200));
    activation.wait = Some(Duration::from_nanos(5));
    activation.cost = Some(falco_core::UsDollars(0.5));
    for (header, records) in forms {
        let records = [&[plan, stage, intent], &records[..], &[r#"{"k":"y","n":100}"#]].concat();
        let log = written(directory.path(), header, &records);
        let details = RunJournal::show(&config(directory.path()), &RUN.into()).unwrap();
        assert_eq!((details.summary.invocations.done, details.stages.len()), (1, 1));
        assert_eq!(details.summary.cost, Some(falco_core::UsDollars(0.5)));
        let journal = resume(directory.path());
        match journal.recall(&invocation("map", "1", 1)).unwrap() {
            Recalled::Done(completion) => {
                assert_eq!(completion.outcome.activation(), Some(&activation));
                assert_eq!(completion.requested_at, at(100));
            }
            other => panic!("{other:?}"),
        }
        match journal.recall(&invocation("map", "2", 1)).unwrap() {
            Recalled::Collect { pending, .. } => assert_eq!(pending.submitted_at, at(100)),
            other => panic!("{other:?}"),
        }
        drop(journal);
        fs::remove_file(log.with_file_name("000002.log")).unwrap();
        written(directory.path(), header, &[r#"{"k":"q","s":0}"#]);
        let error = RunJournal::show(&config(directory.path()), &RUN.into()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}
