//! The output of functions.

use std::time::Duration;

use falco_core::{ActivationLog, Deployment, ErrorKind, LogStream};
use serde_json::json;
use tokio::time::sleep;

use super::harness::Verdict;
use super::subject::{Subject, refused_as, served};

pub(super) async fn what_a_function_prints_is_its_log(subject: &Subject) -> Verdict {
    if !subject.capabilities.logs {
        let deployment = subject.deployed().await?;
        let asked = subject.platform.activation_log(&deployment, &["a".into()]).await;
        refused_as("a log where there is none", asked, &[ErrorKind::Unsupported]);
        return Ok(());
    }
    for deployment in subject.deployed_in_each_runtime().await? {
        let silent = subject.call(&deployment, json!({"do": "nothing"})).await;
        let args = json!({"do": "print", "stdout": ["first", "zweitens: größe", "third"],
                          "stderr": ["to stderr"]});
        let activation = subject.call(&deployment, args).await;
        let log = log(subject, &deployment, &activation.id).await;
        let printed: Vec<_> = log
            .lines
            .iter()
            .filter(|line| line.stream != Some(LogStream::Stderr))
            .map(|line| line.text.as_str())
            .filter(|text| *text != "to stderr")
            .collect();
        assert_eq!(printed, ["first", "zweitens: größe", "third"], "{log:?}");
        let errors: Vec<_> = log.lines.iter().filter(|line| line.text == "to stderr").collect();
        assert_eq!(errors.len(), 1, "{log:?}");
        assert_ne!(errors[0].stream, Some(LogStream::Stdout));
        assert!(!log.truncated);

        let ids = [silent.id.clone(), "unknown".into()];
        let others = subject.platform.activation_log(&deployment, &ids).await;
        for other in served("logs of a silent and an unknown activation", others) {
            assert_eq!(other.id, silent.id, "only what was asked for");
            assert!(!other.lines.iter().any(|line| line.text == "first"), "{other:?}");
        }
    }
    Ok(())
}

/// Providers store logs after the answer: it may take some asking.
async fn log(
    subject: &Subject,
    deployment: &Deployment,
    id: &falco_core::ActivationId,
) -> ActivationLog {
    loop {
        let asked = subject.platform.activation_log(deployment, std::slice::from_ref(id)).await;
        let logs = served("activation_log", asked);
        if let Some(log) = logs.into_iter().find(|log| log.id == *id && log.lines.len() >= 4) {
            return log;
        }
        sleep(Duration::from_millis(100)).await;
    }
}
