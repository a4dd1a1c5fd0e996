//! Removing covers all platforms, whatever became of each of them.

use std::sync::Arc;
use std::time::Duration;

use falco_core::*;
use falco_layers::{Part, RetryPolicy, Share, Spread, Stack};
use falco_testkit::{InMemory, Line, Outages};
use proptest::prelude::*;

use crate::support::*;

/// The fate of a platform since the function was deployed on all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    Nothing,
    Removed,
    Down,
    RemovedAndDown,
}

impl Since {
    fn is_down(self) -> bool {
        matches!(self, Self::Down | Self::RemovedAndDown)
    }

    fn is_removed(self) -> bool {
        matches!(self, Self::Removed | Self::RemovedAndDown)
    }
}

type Away = Arc<Outages<InMemory>>;

async fn holding(parts: &[Away]) -> Vec<bool> {
    let mut holding = Vec::new();
    for part in parts {
        holding.push(!part.inner().list_deployments().await.unwrap().is_empty());
    }
    holding
}

async fn check(since: &[Since]) -> Result<(), TestCaseError> {
    let parts: Vec<Away> =
        since.iter().map(|_| Arc::new(Outages::new(InMemory::default()))).collect();
    let named = parts.iter().enumerate();
    let named = named.map(|(at, part)| Part::new(part.clone()).named(format!("p{at}")));
    let stack = Stack::new().with_retry(RetryPolicy::none()).with_outage_patience(Duration::ZERO);
    let spread = Spread::with_stack(Share::Weight, named, &stack).unwrap();
    let deployment = deployed(&spread).await;
    prop_assert_eq!(holding(&parts).await, vec![true; since.len()]);
    for (part, since) in parts.iter().zip(since) {
        if since.is_removed() {
            let own = part.inner().fetch_deployment("f").await.unwrap();
            part.inner().remove(&own).await.unwrap();
        }
        if since.is_down() {
            part.set(Line::Cut);
        }
    }

    let removed = spread.remove(&deployment).await;
    // Those that can be reached have lost it, whatever the others say.
    let kept: Vec<bool> = since.iter().map(|since| *since == Since::Down).collect();
    prop_assert_eq!(holding(&parts).await, kept);
    let is_any_down = since.iter().any(|since| since.is_down());
    match removed {
        Ok(()) => {
            prop_assert!(!is_any_down);
            prop_assert!(since.contains(&Since::Nothing));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            prop_assert!(since.iter().all(|since| *since == Since::Removed), "{}", error);
        }
        Err(error) => prop_assert!(is_any_down && error.is_unreachable(), "{}", error),
    }

    // Nobody has to know where it is left.
    parts.iter().for_each(|part| part.set(Line::Up));
    match spread.fetch_deployment("f").await {
        Ok(rest) => spread.remove(&rest).await.unwrap(),
        Err(error) => prop_assert_eq!(error.kind(), ErrorKind::NotFound),
    }
    prop_assert_eq!(holding(&parts).await, vec![false; since.len()]);
    prop_assert!(spread.list_deployments().await.unwrap().is_empty());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn removal_reaches_every_platform_and_says_so_only_when_none_has_it(
        since in prop::collection::vec(
            prop::sample::select(vec![
                Since::Nothing, Since::Removed, Since::Down, Since::RemovedAndDown,
            ]),
            1..5,
        ),
    ) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(check(&since))?;
    }
}
