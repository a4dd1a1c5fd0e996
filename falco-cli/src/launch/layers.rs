//! The layers around a platform, as the command line names them.

use std::sync::Arc;
use std::time::Duration;

use falco_core::congestion::CongestionController;
use falco_core::{AsyncPlatform, Capabilities, Platform};
use falco_journal::RunJournal;
use falco_layers::{
    Aimd, Budget, Caps, Fixed, Gate, HeldPolicy, Pid, RetryPolicy, Stack, TargetRate, TimeoutPolicy,
};

use crate::flags::{Controller, ExecutionFlags, Executor};

/// A platform with its layers, and the gates of congestion control, by the names of platforms.
pub(super) type Layered = (Arc<dyn AsyncPlatform>, Vec<(String, Gate)>);

/// The default stack, and its gate. Where the platform cannot submit, `Held` does it by calls that it holds open.
pub(super) fn around(
    flags: &ExecutionFlags,
    platform: Arc<dyn AsyncPlatform>,
    journal: Option<&Arc<RunJournal>>,
    budget: Option<&Budget>,
) -> falco_core::Result<Layered> {
    let mut stack = stack(flags, journal, budget);
    if let Some(controller) = controller(flags, &platform.capabilities()) {
        let mut caps = Caps::default();
        caps.per_second = flags.max_rate;
        stack = stack.with_gate(Gate::capped(controller, caps));
    }
    if flags.executor == Executor::Async && !platform.capabilities().submit {
        stack = stack.with_held(HeldPolicy::default());
    }
    let gate = stack.gate(&platform.capabilities())?;
    let name = platform.name().to_owned();
    let platform = stack.with_gate(gate.clone()).wrap(platform)?;
    Ok((platform, vec![(name, gate)]))
}

/// The layers of each of several platforms.
pub(super) fn of_parts(
    flags: &ExecutionFlags,
    journal: Option<&Arc<RunJournal>>,
    budget: Option<&Budget>,
) -> anyhow::Result<Stack> {
    let has_controller = flags.controller != Controller::Adaptive || flags.target_rate.is_some();
    anyhow::ensure!(
        !flags.no_layers && !has_controller,
        "--no-layers, --controller and --target-rate are for one platform: leave them out for several"
    );
    let stack = stack(flags, journal, budget);
    // Without it, one part that cannot submit would keep all parts from submitting.
    Ok(match flags.executor {
        Executor::Async => stack.with_held(HeldPolicy::default()),
        _ => stack,
    })
}

fn stack(
    flags: &ExecutionFlags,
    journal: Option<&Arc<RunJournal>>,
    budget: Option<&Budget>,
) -> Stack {
    let mut stack = Stack::new()
        .with_retry(RetryPolicy::with_retries(flags.retries))
        .with_outage_patience(flags.outage_patience)
        .with_timeout(timeouts(flags));
    if flags.replicas > 1 {
        stack = stack.with_replicas(flags.replicas);
    }
    if let Some(journal) = journal {
        stack = stack.with_journal(journal.clone());
    }
    if let Some(budget) = budget {
        stack = stack.with_budget(budget.clone());
    }
    if let Some(rate) = flags.max_rate {
        stack = stack.with_max_rate(rate);
    }
    stack
}

/// The controller, where it is not the stack's own.
fn controller(
    flags: &ExecutionFlags,
    capabilities: &Capabilities,
) -> Option<Box<dyn CongestionController>> {
    if let Some(rate) = flags.target_rate {
        return Some(Box::new(TargetRate::new(rate).within(capabilities)));
    }
    Some(match flags.controller {
        Controller::Adaptive => return None,
        Controller::Aimd => Box::new(Aimd::from_capabilities(capabilities)),
        Controller::Pid => Box::new(Pid::from_capabilities(capabilities)),
        Controller::Fixed => Box::new(Fixed::from_capabilities(capabilities)),
    })
}

/// Platforms may hold a status query open for a second, however short the attempts are.
const SHORTEST_CALL: Duration = Duration::from_secs(3);

fn timeouts(flags: &ExecutionFlags) -> TimeoutPolicy {
    let default = TimeoutPolicy::default();
    default
        .with_invoke(flags.attempt_timeout)
        .with_call(flags.attempt_timeout.map_or(default.call, |timeout| timeout.max(SHORTEST_CALL)))
}
