//! Single calls in an outage.

use falco_layers::{CongestionControl, Fixed, Gate};

use super::*;

#[test]
fn deploying_listing_and_removing_outlast_an_outage() {
    paused(async {
        let (platform, _) = platform(settings(1));
        platform.set(Line::Cut);
        let layered = Stack::new().wrap(Arc::clone(&platform)).unwrap();
        let line = tokio::spawn({
            let platform = Arc::clone(&platform);
            async move {
                for _ in 0..4 {
                    sleep(secs(60)).await;
                    platform.set(Line::Up);
                    sleep(secs(30)).await;
                    platform.set(Line::Cut);
                }
            }
        });
        let deployment = layered.deploy(&function()).await.unwrap();
        sleep(secs(40)).await;
        assert_eq!(layered.list_deployments().await.unwrap().len(), 1);
        sleep(secs(40)).await;
        layered.fetch_deployment(&deployment.name).await.unwrap();
        sleep(secs(40)).await;
        layered.remove(&deployment).await.unwrap();
        assert!(platform.inner().list_deployments().await.unwrap().is_empty());
        line.abort();
    });
}

#[test]
fn submitting_collecting_scaling_and_logs_outlast_an_outage() {
    paused(async {
        let (platform, _) = platform(settings(1));
        let layered = Stack::new().wrap(Arc::clone(&platform)).unwrap();
        let deployment = layered.deploy(&function()).await.unwrap();
        let away = || {
            platform.set(Line::Cut);
            let platform = Arc::clone(&platform);
            tokio::spawn(async move {
                sleep(secs(60)).await;
                platform.set(Line::Up);
            })
        };
        let begun = Instant::now();
        let line = away();
        let deployment = layered.scale(&deployment, &Scaling::default()).await.unwrap();
        line.await.unwrap();
        let line = away();
        let pending = [layered.submit(&deployment, &invocation("0")).await.unwrap()];
        line.await.unwrap();
        let line = away();
        let collected = loop {
            let collected = layered.collect(&deployment, &pending).await.unwrap();
            if !collected.finished.is_empty() {
                break collected;
            }
            sleep(collected.poll_after).await;
        };
        line.await.unwrap();
        let line = away();
        let id = collected.finished[0].id.clone();
        layered.activation_log(&deployment, &[id]).await.unwrap();
        line.await.unwrap();
        assert!(begun.elapsed() >= secs(240), "{:?}", begun.elapsed());
    });
}

#[test]
fn in_an_outage_a_call_that_may_have_run_is_sent_again_only_if_it_is_idempotent() {
    paused(async {
        let broken = Error::new(ErrorKind::Unavailable, "it broke").with_unreachable(true);
        let may_have_run = broken.clone().with_may_have_run(true);
        let hopeless = broken.clone().with_retryable(false);
        for (error, idempotent, sent) in [
            (broken, false, 2),
            (may_have_run.clone(), false, 1),
            (may_have_run, true, 2),
            (hopeless, true, 1),
        ] {
            let platform = Arc::new(InMemory::default());
            let layered = Stack::new().wrap(Arc::clone(&platform)).unwrap();
            let deployment = layered.deploy(&function()).await.unwrap();
            let fates = Fates::sequence([Fate::Refuse(error.clone())]);
            platform.configure(|settings| settings.fates = fates);
            let invocation = invocation("0").with_idempotent(idempotent);
            let outcome = layered.invoke(&deployment, &invocation).await;
            let said = format!("{error:?}, idempotent: {idempotent}: {outcome:?}");
            assert_eq!(platform.counters().invokes, sent, "{said}");
            assert_eq!(outcome.is_ok(), sent == 2, "{said}");
        }
    });
}

#[test]
fn without_patience_a_call_fails_when_its_attempts_are_used_up() {
    paused(async {
        let (platform, _) = platform(Settings::default());
        platform.set(Line::Cut);
        let policy = RetryPolicy::default().with_outage_patience(Duration::ZERO);
        let layered = Stack::new().with_retry(policy).wrap(platform).unwrap();
        let begun = Instant::now();
        let error = layered.list_deployments().await.unwrap_err();
        assert!(error.is_exhausted() && begun.elapsed() < secs(10), "{error}");
    });
}

/// How long a call lasts that nobody answers, while the results of other calls are asked for.
async fn unanswered_beside_collects(retry: impl AsyncPlatform) -> Duration {
    let deployment = deployed(&retry).await;
    let begun = Instant::now();
    let collecting = async {
        loop {
            retry.collect(&deployment, &[]).await.unwrap();
            sleep(secs(1)).await;
        }
    };
    let error = tokio::select! {
        fetched = retry.fetch_deployment("f") => fetched.unwrap_err(),
        () = collecting => panic!("it does not end"),
    };
    assert!(error.is_exhausted(), "{error}");
    begun.elapsed()
}

#[test]
fn only_results_that_the_platform_was_asked_for_show_that_it_answers() {
    paused(async {
        let away = || {
            let refused = Error::new(ErrorKind::Unavailable, "no route").with_unreachable(true);
            fated(Fates::by(move |call| match call.operation {
                Operation::FetchDeployment => Fate::Refuse(refused.clone()),
                _ => Fate::Serve,
            }))
        };
        let policy = RetryPolicy::default().with_attempts(2).with_outage_patience(secs(60));
        // The platform answers others, so it is this call that fails.
        let asked = unanswered_beside_collects(Retry::new(away(), policy)).await;
        assert!(asked < secs(30), "{asked:?}");
        let held = Held::new(away(), HeldPolicy::default());
        let remembered = unanswered_beside_collects(Retry::new(held, policy)).await;
        assert!(remembered >= secs(60), "{remembered:?}");
    });
}

#[test]
fn credentials_that_expire_are_waited_for_and_wrong_ones_are_not() {
    paused(async {
        let (platform, _) = platform(Settings::default());
        let layered = Stack::new().wrap(Arc::clone(&platform)).unwrap();
        platform.inner().configure(|settings| settings.unauthorized = true);
        let begun = Instant::now();
        let error = layered.list_deployments().await.unwrap_err();
        assert_eq!((error.kind(), begun.elapsed()), (ErrorKind::Unauthorized, Duration::ZERO));

        platform.inner().configure(|settings| settings.unauthorized = false);
        layered.list_deployments().await.unwrap();
        platform.inner().configure(|settings| settings.unauthorized = true);
        let renewal = tokio::spawn({
            let platform = Arc::clone(&platform);
            async move {
                sleep(secs(90)).await;
                platform.inner().configure(|settings| settings.unauthorized = false);
            }
        });
        layered.list_deployments().await.unwrap();
        assert!(begun.elapsed() >= secs(90));
        renewal.await.unwrap();

        platform.inner().configure(|settings| settings.unauthorized = true);
        let error = layered.list_deployments().await.unwrap_err();
        assert!(error.to_string().contains("the credentials have not been accepted"), "{error}");
    });
}

#[test]
fn the_wait_of_a_call_that_comes_in_an_outage_is_reported_as_that_of_the_outage() {
    paused(async {
        let (platform, _) = platform(Settings::default());
        let layered = Arc::new(Stack::new().wrap(Arc::clone(&platform)).unwrap());
        let deployment = layered.deploy(&function()).await.unwrap();
        let line = tokio::spawn(follow(Arc::clone(&platform), vec![(0, Line::Cut, 60)]));
        // Its failures are the outage, and it tries whether the platform is back.
        let trying = tokio::spawn({
            let layered = Arc::clone(&layered);
            async move { layered.list_deployments().await }
        });
        sleep(secs(10)).await;
        let (recorder, begun) = (Recorder::new(), Instant::now());
        let invocation = invocation("0").with_monitor(recorder.clone());
        layered.invoke(&deployment, &invocation).await.unwrap();
        let took = begun.elapsed();
        let lines = recorder.lines();
        let wait = |line: &String| -> Option<f64> {
            let time = line.strip_prefix("waiting: Outage ")?;
            match time.strip_suffix("ms") {
                Some(time) => time.parse::<f64>().ok().map(|time| time / 1e3),
                None => time.strip_suffix('s')?.parse().ok(),
            }
        };
        let in_outage: f64 = lines.iter().filter_map(wait).sum();
        assert!(took >= secs(50), "{took:?}");
        assert!((took.as_secs_f64() - in_outage).abs() < 0.1, "{took:?}: {lines:?}");
        assert_eq!(recorder.count("waiting: Limit"), 0, "{lines:?}");
        trying.await.unwrap().unwrap();
        line.await.unwrap();
    });
}

#[test]
fn watchers_hear_of_the_beginning_and_the_end() {
    paused(async {
        let (platform, _) = platform(Settings::default());
        let layered = Stack::new().wrap(Arc::clone(&platform)).unwrap();
        let recorder = Recorder::new();
        let watcher: Arc<dyn Monitor> = recorder.clone();
        layered.watch_outages(Arc::downgrade(&watcher));
        let line = tokio::spawn(follow(Arc::clone(&platform), vec![(0, Line::Cut, 30)]));
        sleep(secs(1)).await;
        layered.list_deployments().await.unwrap();
        line.await.unwrap();
        let lines = recorder.lines();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("OutageStarted") && lines[1].starts_with("OutageEnded"));
    });
}

#[tokio::test(start_paused = true)]
async fn a_held_call_that_is_open_does_not_end_an_outage_and_an_accepted_submission_does() {
    for holds_calls in [true, false] {
        let platform = Arc::new(Outages::new(InMemory::default()));
        let deployment = deployed(&platform).await;
        let inner: Arc<dyn AsyncPlatform> = match holds_calls {
            true => Arc::new(Held::new(platform.clone(), HeldPolicy::default())),
            false => platform.clone(),
        };
        let layer = CongestionControl::new(inner, Gate::new(Fixed::unlimited()))
            .with_held_calls(holds_calls);
        platform.set(Line::Cut);
        for _ in 0..3 {
            layer.list_deployments().await.unwrap_err();
        }
        assert!(layer.gate().state().paused.is_some());
        // The call is sent and not answered: nobody knows yet whether it reaches the platform.
        platform.set(if holds_calls { Line::Hung } else { Line::Up });
        layer.submit(&deployment, &invocation("a")).await.unwrap();
        assert_eq!(layer.gate().state().paused.is_some(), holds_calls);
    }
}

#[tokio::test(start_paused = true)]
async fn submissions_that_are_gone_are_an_outage_only_where_nobody_has_answered_them() {
    let lost = Error::new(ErrorKind::Lost, "no record of it");
    let away = Error::new(ErrorKind::Unavailable, "no route").with_unreachable(true);
    for (error, patience, is_outage) in
        [(&away, secs(60), true), (&away, Duration::ZERO, false), (&lost, secs(60), false)]
    {
        let fates = Fates::sequence([0, 1, 2].map(|_| Fate::FailLate(error.clone())));
        let layer = CongestionControl::new(fated(fates), Gate::new(Fixed::unlimited()))
            .with_outage_patience(patience);
        let deployment = deployed(&layer).await;
        let mut pending = Vec::new();
        for n in 0..3 {
            pending.push(layer.submit(&deployment, &invocation(&n.to_string())).await.unwrap());
        }
        sleep(secs(1)).await;
        assert_eq!(layer.collect(&deployment, &pending).await.unwrap().gone.len(), 3);
        assert_eq!(layer.gate().state().paused.is_some(), is_outage, "{error}, {patience:?}");
    }
}
