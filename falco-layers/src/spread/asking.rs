//! Asks the parts for results: one that does not answer soon keeps no other waiting.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use falco_core::{AsyncPlatform, Collected, Deployment, Pending, Result};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::part::Member;
use super::questions::Question;

/// How long the others are waited for once a part has answered.
const GRACE: Duration = Duration::from_millis(50);
/// How long any of them is waited for: what is submitted meanwhile has to be asked for as well.
const LONGEST: Duration = Duration::from_secs(1);

/// A question, and the place of its part among those that are asked.
struct Asked {
    at: usize,
    /// Whether it was asked for what was awaited earlier.
    is_kept: bool,
    question: Question,
}

impl Future for Asked {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let (at, is_kept) = (self.at, self.is_kept);
        self.question.as_mut().poll(cx).map(|answer| Answer { at, is_kept, answer })
    }
}

/// The answer of a part.
pub(super) struct Answer {
    pub(super) at: usize,
    /// Whether it answers an earlier question, and may name what is awaited no longer.
    pub(super) is_kept: bool,
    pub(super) answer: Result<Collected>,
}

/// Asks all of them, and returns the answers that come soon. A question that is open is kept for the next time: dropped, a
/// poll that stays open for long would never get its answer.
pub(super) async fn answers(parts: &[(&Member, &Deployment, Vec<Pending>)]) -> Vec<Answer> {
    let ask = |(at, (member, deployment, own)): (usize, &(&Member, &Deployment, Vec<Pending>))| {
        let kept = member.questions.take(deployment);
        let is_kept = kept.is_some();
        let question = kept.unwrap_or_else(|| ask(&member.platform, deployment, own));
        Asked { at, is_kept, question }
    };
    let mut open: FuturesUnordered<Asked> = parts.iter().enumerate().map(ask).collect();
    let mut answers = Vec::new();
    let mut until = Instant::now() + LONGEST;
    while let Ok(Some(next)) = tokio::time::timeout_at(until, open.next()).await {
        // A failure says nothing of the others.
        if next.answer.is_ok() {
            until = until.min(Instant::now() + GRACE);
        }
        answers.push(next);
    }
    for Asked { at, question, .. } in open {
        let (member, deployment, _) = &parts[at];
        member.questions.keep(deployment, question);
    }
    answers
}

fn ask(
    platform: &Arc<dyn AsyncPlatform>,
    deployment: &Deployment,
    pending: &[Pending],
) -> Question {
    let (platform, deployment) = (platform.clone(), deployment.clone());
    let pending = pending.to_vec();
    Box::pin(async move { platform.collect(&deployment, &pending).await })
}
