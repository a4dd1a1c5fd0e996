//! Commits: what a run takes, deletes and leaves.

use falco_core::{
    Deployable, ErrorKind, Invocation, InvocationId, Payload, Platform, RunId, RuntimeName,
};
use falco_data::{Data, DataPolicy, Object, Store, check_output, commit};
use falco_testkit::InMemory;
use serde_json::{Value, json};

struct World {
    folder: tempfile::TempDir,
    output: Store,
    data: Data<InMemory>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = |name| Store::folder(folder.path().join(name)).unwrap();
        let output = store("out");
        let data = Data::new(InMemory::default(), store("scratch"), DataPolicy::default()).unwrap();
        Self { data: data.with_store(output.clone()), output, folder }
    }

    /// The object that an attempt of this run writes, without a function, and the result that names it.
    async fn attempt(&self, run: &str, key: &str, number: u64) -> (InvocationId, Payload) {
        let echo =
            Deployable::from_source("f", RuntimeName::python(), "def main(args): return args");
        let deployment = self.data.deploy(&echo).await.unwrap();
        let sink = self.output.sink(key).numbered(number);
        let payload = Payload::json(&json!({ "out": sink })).unwrap();
        let invocation = Invocation::new(run, "write", number.to_string(), payload);
        let activation = self.data.invoke(&deployment, &invocation).await.unwrap();
        let sent: Value = activation.outcome.unwrap().parse().unwrap();
        let url = sent["out"]["falco:sink"]["url"].as_str().unwrap();
        std::fs::create_dir_all(self.folder.path().join("out")).unwrap();
        std::fs::write(url.strip_prefix("file://").unwrap(), run).unwrap();
        let object = Object::new(url).with_size(run.len() as u64);
        let result = Payload::json(&json!({ "out": object })).unwrap();
        (invocation.id().clone(), result)
    }

    /// The names below the output, sorted.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path().join("out")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn name(result: &Payload) -> String {
    let result: Value = result.parse().unwrap();
    let url = result["out"]["falco:object"]["url"].as_str().unwrap();
    url.rsplit('/').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_commit_deletes_losers_of_its_run_and_nothing_of_runs_with_similar_names() {
    let world = World::new();
    let winner = world.attempt("a", "part.csv", 0).await;
    let loser = world.attempt("a", "part.csv", 0).await;
    let mut others = Vec::new();
    // Keys and runs of which one contains the other, in either order, and a user's own files.
    for (run, key) in [
        ("a-b", "part.csv"),
        ("b-a", "part.csv"),
        ("b", "part-a.csv"),
        ("a.b", "x"),
        ("1", "part-a.csv"),
    ] {
        others.push(name(&world.attempt(run, key, 0).await.1));
    }
    let of_user = "report-a-1.csv";
    std::fs::write(world.folder.path().join("out").join(of_user), "mine").unwrap();
    assert!(world.names().contains(&name(&loser.1)));

    let manifest =
        commit(&world.output, &RunId::from("a"), std::slice::from_ref(&winner)).await.unwrap();
    assert_eq!(manifest.objects.len(), 1);
    let mut expected = others;
    expected.extend([
        of_user.to_owned(),
        name(&winner.1),
        "_manifest.json".into(),
        "_SUCCESS".into(),
    ]);
    expected.sort();
    assert_eq!(world.names(), expected);
}

#[tokio::test]
async fn a_commit_of_another_run_fails_and_the_first_output_stays() {
    let world = World::new();
    let first = world.attempt("a", "part.csv", 0).await;
    commit(&world.output, &RunId::from("a"), std::slice::from_ref(&first)).await.unwrap();
    let second = world.attempt("b", "part.csv", 0).await;
    let again = commit(&world.output, &RunId::from("b"), &[second]).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Conflict, "{again}");
    assert!(again.to_string().contains("holds a complete output already"), "{again}");
    // A run that goes on after its commit may do it again.
    commit(&world.output, &RunId::from("a"), std::slice::from_ref(&first)).await.unwrap();
    let manifest = std::fs::read_to_string(world.folder.path().join("out/_manifest.json")).unwrap();
    assert!(manifest.contains(&name(&first.1)), "{manifest}");
    assert!(world.names().contains(&name(&first.1)));
}

#[tokio::test]
async fn a_run_without_results_has_an_empty_output_that_is_complete() {
    let world = World::new();
    let manifest = commit(&world.output, &RunId::from("a"), &[]).await.unwrap();
    assert!(manifest.objects.is_empty());
    assert_eq!(world.names(), ["_SUCCESS", "_manifest.json"]);
    let again = commit(&world.output, &RunId::from("b"), &[]).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Conflict, "{again}");
}

#[tokio::test]
async fn an_output_that_is_taken_is_found_out_before_a_run_and_its_own_run_may_go_on() {
    let world = World::new();
    let own = RunId::from("a");
    assert!(check_output(&world.output, None).await.is_ok());
    let result = world.attempt("a", "part.csv", 0).await;
    assert!(check_output(&world.output, Some(&own)).await.is_ok());
    commit(&world.output, &own, &[result]).await.unwrap();
    let other = RunId::from("b");
    for (run, is_free) in [(None, false), (Some(&other), false), (Some(&own), true)] {
        let checked = check_output(&world.output, run).await;
        assert_eq!(checked.is_ok(), is_free, "{run:?}: {checked:?}");
        if let Err(error) = checked {
            assert_eq!(error.kind(), ErrorKind::Conflict);
            assert!(error.to_string().contains("write to another prefix"), "{error}");
        }
    }
    // Another program's output has no manifest.
    std::fs::remove_file(world.folder.path().join("out/_manifest.json")).unwrap();
    assert!(check_output(&world.output, Some(&own)).await.is_err());
}

#[tokio::test]
async fn a_commit_that_broke_off_after_its_manifest_goes_on() {
    let world = World::new();
    let result = world.attempt("a", "part.csv", 0).await;
    commit(&world.output, &RunId::from("a"), std::slice::from_ref(&result)).await.unwrap();
    let success = world.folder.path().join("out/_SUCCESS");
    std::fs::remove_file(&success).unwrap();
    commit(&world.output, &RunId::from("a"), &[result]).await.unwrap();
    assert!(success.exists());
}

#[tokio::test]
async fn results_that_do_not_make_an_output_are_refused_and_nothing_becomes_complete() {
    let world = World::new();
    let (id, result) = world.attempt("a", "part.csv", 0).await;
    let other = InvocationId::from("other");
    let path = world.folder.path().join("out").join(name(&result));
    let run = RunId::from("a");
    let elsewhere = Payload::json(&json!({"out": Object::new("s3://elsewhere/key")})).unwrap();
    for (results, kind, text) in [
        (vec![(id.clone(), elsewhere)], ErrorKind::InvalidInput, "none of 1 results"),
        (
            vec![(id.clone(), result.clone()), (other, result.clone())],
            ErrorKind::InvalidInput,
            "two results name",
        ),
    ] {
        let error = commit(&world.output, &run, &results).await.unwrap_err();
        assert!(error.kind() == kind && error.to_string().contains(text), "{error}");
    }
    std::fs::write(&path, "longer than its result says").unwrap();
    let error = commit(&world.output, &run, &[(id.clone(), result.clone())]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    std::fs::remove_file(&path).unwrap();
    let error = commit(&world.output, &run, &[(id, result)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(world.names().is_empty(), "{:?}", world.names());
}
