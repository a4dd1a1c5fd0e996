//! The platform in memory passes the suite, on paused time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use falco_core::{
    AsyncPlatform, Capabilities, Error, Platform, RuntimeLimits, RuntimeName, async_trait,
};
use falco_testkit::conformance::{Fault, Harness, Skip};
use falco_testkit::fixture::Fixture;
use falco_testkit::{Fate, Fates, FunctionCall, InMemory, Settings, conformance_tests};
use futures_util::FutureExt;
use tokio::sync::Notify;

pub(crate) struct Memory {
    platform: Arc<InMemory>,
    /// Calls until nothing is answered any more, and whether that has come.
    stop: Arc<Stop>,
}

#[derive(Default)]
struct Stop {
    left: AtomicU64,
    reached: Notify,
}

impl Memory {
    fn with(settings: Settings) -> Self {
        let respond = |call: &FunctionCall<'_>| Fixture::of_code(call.code).unwrap().reply(call);
        let platform = InMemory::new(settings)
            .with_function("python", respond)
            .with_function("nodejs", respond)
            .with_function("native", respond);
        Self { platform: Arc::new(platform), stop: Arc::default() }
    }

    pub(crate) fn refuse_everything(&self, error: Error) {
        self.platform.configure(|settings| {
            settings.fates = Fates::by(move |_| Fate::Refuse(error.clone()));
        });
    }
}

#[async_trait]
impl Harness for Memory {
    async fn start() -> Self {
        let defaults = Settings::default();
        let settings = Settings {
            capabilities: defaults
                .capabilities
                .with_resubmit(true)
                .with_max_payload(2 << 20)
                .with_max_submit_payload(512 << 10)
                .with_max_result(1 << 20)
                .with_max_code(1 << 20)
                .with_runtime_limits(
                    "nodejs",
                    RuntimeLimits::default()
                        .with_max_payload(40 << 10)
                        .with_max_submit_payload(30 << 10)
                        .with_max_result(20 << 10)
                        .with_max_code(100 << 10),
                ),
            capacity: Some(20),
            ..defaults
        };
        Self::with(settings)
    }

    fn platform(&self) -> Arc<dyn AsyncPlatform> {
        self.platform.clone()
    }

    fn runtimes(&self) -> Vec<RuntimeName> {
        ["python:3", "nodejs:22", "native"].map(|runtime| runtime.parse().unwrap()).to_vec()
    }

    async fn provoke(&self, fault: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        self.platform.configure(|settings| settings.provoke(fault));
        Ok(self.platform.clone())
    }

    fn calls(&self) -> Option<u64> {
        let counters = self.platform.counters();
        Some(counters.invokes + counters.submits)
    }

    async fn place_stranger(&self) -> Result<String, Skip> {
        // What is not Falco's is not in the platform in memory at all.
        Ok("stranger".to_owned())
    }

    async fn place_strangers(&self, _: usize) -> Result<(), Skip> {
        Ok(())
    }

    async fn stop_after(&self, requests: u64) -> Result<(), Skip> {
        self.stop.left.store(requests, Ordering::SeqCst);
        let stop = self.stop.clone();
        let decide = move || match stop.left.load(Ordering::SeqCst) {
            0 => Fate::Hang,
            1 => {
                stop.left.store(0, Ordering::SeqCst);
                stop.reached.notify_one();
                Fate::reset()
            }
            left => {
                stop.left.store(left - 1, Ordering::SeqCst);
                Fate::Serve
            }
        };
        self.platform.configure(|settings| settings.fates = Fates::by(move |_| decide()));
        Ok(())
    }

    async fn stopped(&self) {
        self.stop.reached.notified().await;
    }

    fn go_on(&self) {
        self.platform.configure(|settings| settings.fates = Fates::SERVE);
    }

    async fn reconnect(&self) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        // It has no state beside that of the provider.
        Ok(self.platform.clone())
    }

    fn leftovers(&self) -> Option<Vec<String>> {
        // Ready at once, unless the case has made the platform silent.
        let listed = self.platform.list_deployments().now_or_never()?.ok()?;
        Some(listed.into_iter().map(|deployment| deployment.name).collect())
    }
}

conformance_tests!(Memory, tokio::test(start_paused = true));

/// The least that a platform can be: it invokes, in one language.
struct Least(Memory);

#[async_trait]
impl Harness for Least {
    async fn start() -> Self {
        let defaults = Settings::default();
        let capabilities = Capabilities::default()
            .with_submit(false)
            .with_logs(false)
            .with_scaling(false)
            .with_runtimes(["python:3"]);
        Self(Memory::with(Settings { capabilities, ..defaults }))
    }

    fn platform(&self) -> Arc<dyn AsyncPlatform> {
        self.0.platform()
    }

    fn runtimes(&self) -> Vec<RuntimeName> {
        vec!["python:3".parse().unwrap()]
    }

    async fn provoke(&self, fault: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        Err(Skip::new(format!("this harness knows no {fault}")))
    }
}

mod least {
    use super::Least;

    falco_testkit::conformance_tests!(Least, tokio::test(start_paused = true));
}

#[test]
fn every_case_has_a_name_of_its_own_and_a_sentence() {
    let mut names = std::collections::HashSet::new();
    for case in falco_testkit::conformance::CASES {
        assert!(names.insert(case.name), "{} stands twice", case.name);
        assert!(case.demand.ends_with('.') && case.demand.len() > 20, "{}", case.name);
        assert!(!case.demand.contains("  "), "{}: {}", case.name, case.demand);
    }
    assert!(names.len() > 45, "{}", names.len());
}

#[tokio::test(start_paused = true)]
async fn an_exempted_case_is_a_skip_with_its_reason() {
    struct Exempted(Memory);

    #[async_trait]
    impl Harness for Exempted {
        async fn start() -> Self {
            Self(Memory::start().await)
        }

        fn platform(&self) -> Arc<dyn AsyncPlatform> {
            self.0.platform()
        }

        fn runtimes(&self) -> Vec<RuntimeName> {
            panic!("the case must not begin")
        }

        async fn provoke(&self, _: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
            panic!("the case must not begin")
        }

        fn exempt(&self, case: &str) -> Option<Skip> {
            Some(Skip::new(format!("{case} is not promised")))
        }
    }

    let case = falco_testkit::conformance::CASES[0];
    let skip = case.run(Arc::new(Exempted::start().await)).await.unwrap_err();
    assert_eq!(skip.to_string(), format!("{} is not promised", case.name));
}

/// A harness in which something is changed, by the platform in memory.
struct Changed {
    inner: Memory,
    exempt: Option<&'static str>,
}

#[async_trait]
impl Harness for Changed {
    async fn start() -> Self {
        Self { inner: Memory::start().await, exempt: None }
    }

    fn platform(&self) -> Arc<dyn AsyncPlatform> {
        self.inner.platform()
    }

    fn runtimes(&self) -> Vec<RuntimeName> {
        self.inner.runtimes()
    }

    fn fixture(&self, name: &str, runtime: &RuntimeName) -> Option<falco_core::Deployable> {
        let function = falco_testkit::fixture::function(name, runtime)?;
        // Whatever is deployed in Node.js is broken.
        let is_broken = runtime.family() == "nodejs" && name != "f";
        Some(if is_broken { function.with_entry_point("other") } else { function })
    }

    fn exempt_runtime(&self, _: &str, runtime: &RuntimeName) -> Option<Skip> {
        let exempt = self.exempt.is_some_and(|family| family == runtime.family());
        exempt.then(|| Skip::new("it is broken"))
    }

    async fn provoke(&self, fault: Fault) -> Result<Arc<dyn AsyncPlatform>, Skip> {
        self.inner.provoke(fault).await
    }
}

fn case(name: &str) -> &'static falco_testkit::conformance::Case {
    falco_testkit::conformance::CASES.iter().find(|case| case.name == name).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_failure_names_the_demand_the_runtime_and_the_harness() {
    let harness = Arc::new(Changed::start().await);
    let name = "a_deployed_function_answers";
    let failed = tokio::spawn(async move { case(name).run(harness).await }).await.unwrap_err();
    let words = failed.into_panic().downcast::<String>().unwrap();
    assert!(words.contains(case(name).demand), "{words}");
    assert!(words.contains("conformance::Changed in nodejs:22, demands: "), "{words}");
}

#[tokio::test(start_paused = true)]
async fn a_case_can_leave_out_one_runtime() {
    let mut harness = Changed::start().await;
    harness.exempt = Some("nodejs");
    assert_eq!(case("a_deployed_function_answers").run(Arc::new(harness)).await, Ok(()));
}

/// The text that this program prints past the capture when it runs these tests of its own, alone in a process.
fn printed_by(tests: &[&str]) -> String {
    let mut program = std::process::Command::new(std::env::current_exe().unwrap());
    let output = program.arg("--exact").args(tests).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_skip_names_platform_harness_case_reason_and_how_many_there_were() {
    let case = "conformance::least::a_submitted_invocation_is_collected";
    let printed = printed_by(&[case]);
    let wanted = "skipped on in-memory (it::conformance::Least): a_submitted_invocation_is_collected: it cannot submit \
                  [1 skipped so far]";
    assert!(printed.lines().any(|line| line == wanted), "{printed}");

    let other = "conformance::a_case_can_leave_out_one_runtime";
    let printed = printed_by(&[case, other]);
    let of_runtime =
        "(it::conformance::Changed): a_deployed_function_answers in nodejs:22: it is broken [";
    assert!(printed.contains(of_runtime), "{printed}");
    let last = printed.lines().last().unwrap();
    assert!(last.ends_with(" [2 skipped so far]"), "the last line holds the total: {printed}");
}
