//! Functions of a run that goes on: adopted, deployed again, put off, or taken over by another process.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use falco_core::{Deployable, ErrorKind, Event, Journal, Monitor, Ownership, Platform, Verdict};
use falco_journal::{JournalConfig, ResumeOptions, RunJournal};
use falco_testkit::{InMemory, Settings};

use crate::support::{
    RUN, begin_stage, config, create, function, in_memory, invocation, payload, plan, resume,
    stage, succeed,
};

/// The function of the run, as `owner` deploys it.
fn owned(owner: &str) -> Deployable {
    let expires = SystemTime::now() + Duration::from_secs(3600);
    function("def main(args): return args")
        .with_name(format!("work-{RUN}"))
        .with_ownership(Ownership::new(RUN, owner, expires))
}

fn deploys(platform: &InMemory) -> u64 {
    platform.counters().deploys
}

#[tokio::test]
async fn a_deployment_that_is_there_is_adopted_where_the_platform_allows_that() {
    for adopts in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let platform = in_memory();
        platform.configure(|settings| settings.capabilities.adopt = adopts);
        let journal = create(directory.path());
        let layered = journal.clone().layer(platform.clone());
        layered.deploy(&owned("ada@a")).await.unwrap();
        drop((layered, journal));
        let journal = resume(directory.path());
        let layered = journal.clone().layer(platform.clone());
        layered.deploy(&owned("ada@a")).await.unwrap();
        assert_eq!(deploys(&platform), if adopts { 1 } else { 2 });
    }
}

#[tokio::test]
async fn other_sizes_are_deployed_again_and_so_are_plain_functions_and_those_with_an_environment() {
    let larger = |mut function: Deployable| {
        function.scaling.memory_mib = Some(2048);
        function
    };
    // The values of an environment are not recorded, so that nobody knows whether they have changed.
    let secretive = owned("ada@a").with_env("KEY", "value");
    for (first, then, expected) in [
        (owned("ada@a"), owned("ada@a"), 1),
        (owned("ada@a"), larger(owned("ada@a")), 2),
        (secretive.clone(), secretive, 2),
        (owned("ada@a").plain(), owned("ada@a").plain(), 2),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let platform = in_memory();
        let journal = create(directory.path());
        let layered = journal.clone().layer(platform.clone());
        layered.deploy(&first).await.unwrap();
        drop((layered, journal));
        let journal = resume(directory.path());
        let layered = journal.clone().layer(platform.clone());
        layered.deploy(&then).await.unwrap();
        assert_eq!(deploys(&platform), expected, "{then:?}");
    }
}

/// Records that a stage has ended well.
fn end_stage(journal: &RunJournal, name: &str) {
    let ended = Event::StageFinished { stage: &name.into(), error: None };
    assert_eq!(journal.event(&ended), Verdict::Continue);
}

#[tokio::test]
async fn a_function_whose_stages_have_all_ended_is_deployed_once_it_is_called() {
    let directory = tempfile::tempdir().unwrap();
    let platform = in_memory();
    let journal = create(directory.path());
    let recorded = plan(vec![stage("map"), stage("again")]);
    journal.begin(&recorded, &platform, None).unwrap();
    let layered = journal.clone().layer(platform.clone());
    let deployment = layered.deploy(&owned("ada@a")).await.unwrap();
    begin_stage(&journal, "map");
    succeed(&journal, invocation("map", "1", 1), payload(2));
    end_stage(&journal, "map");
    drop((layered, journal));

    // One of the two stages of the function has not ended.
    let journal = resume(directory.path());
    journal.begin(&recorded, &platform, None).unwrap();
    let layered = journal.clone().layer(platform.clone());
    platform.configure(|settings| settings.capabilities.adopt = false);
    layered.deploy(&owned("ada@a")).await.unwrap();
    assert_eq!(deploys(&platform), 2);
    begin_stage(&journal, "again");
    end_stage(&journal, "again");
    layered.remove(&deployment).await.unwrap();
    drop((layered, journal));

    let journal = resume(directory.path());
    journal.begin(&recorded, &platform, None).unwrap();
    let layered = journal.clone().layer(platform.clone());
    let recalled = layered.deploy(&owned("ada@a")).await.unwrap();
    assert_eq!((deploys(&platform), platform.counters().removes), (2, 1));
    assert_eq!(recalled.name, deployment.name);
    // Nothing is there, and nothing is called.
    layered.remove(&recalled).await.unwrap();
    assert_eq!(platform.counters().removes, 1);
    drop((layered, journal));

    let journal = resume(directory.path());
    journal.begin(&recorded, &platform, None).unwrap();
    let layered = journal.clone().layer(platform.clone());
    let recalled = layered.deploy(&owned("ada@a")).await.unwrap();
    for number in 5..7 {
        layered.invoke(&recalled, &invocation("map", &number.to_string(), number)).await.unwrap();
    }
    assert_eq!(deploys(&platform), 3, "a call that is needed after all deploys it, once");
    layered.remove(&recalled).await.unwrap();
    assert!(platform.list_deployments().await.unwrap().is_empty());
}

#[test]
fn a_resume_in_another_account_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let platform = in_memory();
    let journal = create(directory.path());
    let recorded = plan(vec![stage("map")]);
    journal.begin(&recorded, &platform, Some("123 in eu-central-1")).unwrap();
    drop(journal);
    for (account, is_refused) in [
        (Some("123 in eu-central-1"), false),
        (Some("456 in eu-central-1"), true),
        // Where nobody can say, nothing is compared, and what was known stays known.
        (None, false),
        (Some("456 in eu-central-1"), true),
    ] {
        let journal = resume(directory.path());
        let begun = journal.begin(&recorded, &platform, account);
        assert_eq!(begun.is_err(), is_refused, "{account:?}");
        if let Err(error) = begun {
            assert_eq!(error.kind(), ErrorKind::Conflict);
            let text = error.to_string();
            assert!(text.contains("123 in") && text.contains("456 in"), "{text}");
        }
    }
}

#[tokio::test]
async fn the_runner_asks_the_platform_for_its_account() {
    use falco_core::{Driver, ExecutionPlan};
    use falco_executors::{DriverExt, RunOptions};

    #[derive(Debug)]
    struct Nothing;

    impl Driver for Nothing {
        fn name(&self) -> &str {
            "nothing"
        }

        fn plan(&self) -> falco_core::Result<ExecutionPlan> {
            ExecutionPlan::new(vec![stage("map")])
        }
    }

    let directory = tempfile::tempdir().unwrap();
    let run = async |account: &str, journal: Arc<RunJournal>| {
        let settings = Settings { account: Some(account.to_owned()), ..Settings::default() };
        let platform = InMemory::new(settings);
        Nothing.run(RunOptions::from(platform).with_journal(journal)).await
    };
    let first = run("first", create(directory.path())).await.unwrap();
    assert!(first.is_success());
    let another = JournalConfig::new(directory.path());
    let journal = RunJournal::create(&another, "6553f101-0000beef".into()).unwrap();
    assert!(run("second", journal).await.unwrap().is_success());
    let journal =
        RunJournal::resume(&another, &"6553f101-0000beef".into(), ResumeOptions::default());
    let error = run("first", journal.unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

/// Copies the journal to what looks like another machine.
fn copy_to_another_machine(from: &Path, to: &Path) {
    let (from, to) = (from.join(RUN), to.join(RUN));
    std::fs::create_dir_all(&to).unwrap();
    std::fs::write(to.join("lock"), "").unwrap();
    let log = std::fs::read_to_string(from.join("000001.log")).unwrap();
    let (header, rest) = log.split_once('\n').unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&header[9..]).unwrap();
    json["host"] = "elsewhere".into();
    // The kind comes first.
    let json = json.to_string();
    let json = format!(r#"{{"k":"h",{}"#, json.replace(r#""k":"h","#, "").split_at(1).1);
    let header = format!("{:08x} {json}", crc32c::crc32c(json.as_bytes()));
    std::fs::write(to.join("000001.log"), format!("{header}\n{rest}")).unwrap();
}

#[tokio::test]
async fn a_process_whose_run_was_taken_over_from_a_copy_neither_deploys_nor_removes() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let platform = in_memory();
    let first = create(here.path());
    let layered = first.clone().layer(platform.clone());
    let deployment = layered.deploy(&owned("ada@a")).await.unwrap();
    assert_eq!(deployment.ownership.as_ref().map(|it| it.epoch), Some(1));

    // A copy of its journal goes on elsewhere, while it still runs.
    copy_to_another_machine(here.path(), there.path());
    let second = resume(there.path());
    let elsewhere = second.clone().layer(platform.clone());
    let taken = elsewhere.deploy(&owned("ada@b")).await.unwrap();
    assert_eq!(taken.ownership.as_ref().map(|it| it.epoch), Some(2));
    let error = layered.remove(&deployment).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("ada@b has taken the run over"), "{error}");
    drop((layered, first));

    // Its next process is as late as the one that has the copy.
    let third = resume(here.path());
    let layered = third.clone().layer(platform.clone());
    let error = layered.deploy(&owned("ada@a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(platform.list_deployments().await.unwrap(), std::slice::from_ref(&taken));
    drop((layered, third));

    // A person decides which copy is the one to work with.
    let options = ResumeOptions::default().with_take_over(true);
    let fourth = RunJournal::resume(&config(here.path()), &RUN.into(), options).unwrap();
    let layered = fourth.clone().layer(platform.clone());
    layered.deploy(&owned("ada@a")).await.unwrap();
    elsewhere.remove(&taken).await.unwrap_err();
}
