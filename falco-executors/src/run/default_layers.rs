//! The layers that a platform gets when its user names none.

use falco_core::{Platform, Result};
use falco_layers::{HeldPolicy, Stack};

use super::options::RunOptions;

/// Puts the default [`Stack`] around a platform that [wants layers](RunOptions::wants_layers).
pub(super) fn with_default_layers(options: RunOptions) -> Result<RunOptions> {
    if !options.wants_layers() {
        return options.with_budget_layer();
    }
    let mut stack = Stack::new();
    if let Some(budget) = &options.budget {
        stack = stack.with_budget(budget.clone());
    }
    if let Some(journal) = &options.journal {
        stack = stack.with_journal(journal.clone());
    }
    // A strategy that submits works on a platform that can only invoke: its calls are held open.
    if options.strategy().submits() && !options.platform().capabilities().submit {
        stack = stack.with_held(HeldPolicy::default());
    }
    options.with_layers(|platform| stack.wrap(platform))
}
