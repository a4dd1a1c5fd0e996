//! The layers that a platform gets when its user names none.

use falco_core::{Platform, Result};
use falco_executors::RunOptions;
use falco_layers::{HeldPolicy, Stack};

/// Puts the default [`Stack`] around a platform that [wants layers](falco_core::Capabilities::wants_layers): one with
/// limits per account behind a network. It paces calls from the limits that the platform states, repeats those that
/// are safe to repeat, and ends those that hang.
///
/// [`Run`](crate::Run) and [`DriverExt`](crate::DriverExt) do this by themselves; a program that works with a
/// [`Session`](falco_executors::Session) calls it. A platform on this machine, one that is wrapped already, and
/// [`RunOptions::without_layers`] are left as they are. Other limits than the default ones are set by
/// [`RunOptions::with_layers`].
///
/// # Errors
///
/// As [`Stack::wrap`].
///
/// # Examples
///
/// ```
/// use falco::prelude::*;
///
/// # fn f(openwhisk: impl AsyncPlatform, aws: impl AsyncPlatform) -> Result<()> {
/// let session = Session::start(with_default_layers(openwhisk)?)?;
///
/// let slowly = |platform| Stack::new().with_max_rate(10.0).wrap(platform);
/// let session = Session::start(RunOptions::from(aws).with_layers(slowly)?)?;
/// # Ok(()) }
/// ```
pub fn with_default_layers(options: impl Into<RunOptions>) -> Result<RunOptions> {
    let options = options.into();
    if !options.wants_layers() {
        return Ok(options);
    }
    let mut stack = Stack::new();
    // A strategy that submits works on a platform that can only invoke: its calls are held open.
    if options.strategy().submits() && !options.platform().capabilities().submit {
        stack = stack.with_held(HeldPolicy::default());
    }
    options.with_layers(|platform| stack.wrap(platform))
}
