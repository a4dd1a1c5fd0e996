//! Limits that the service does not report, and that have changed before.

use falco_core::setters;

/// Limits of AWS that no request reports. AWS has raised some before, so they are settings.
///
/// # Examples
///
/// ```
/// use falco_aws::Limits;
///
/// let raised = Limits::default().with_submit_payload(1 << 20);
/// assert_eq!(raised.payload, 6 << 20);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Longest argument of an invocation that is waited for, in bytes: 6 MiB.
    pub payload: u64,
    /// Longest result, in bytes: 100 more than that. What the shims have measured is put around it, and
    /// takes up to 256 of them.
    pub result: u64,
    /// Longest argument of a submitted invocation, in bytes.
    ///
    /// Lambda takes 1 MiB, but the record in the result queue holds argument *and* result, and has to fit into the
    /// 1 MiB of an SQS message. So the default is half of that, which leaves the other half to the result.
    pub submit_payload: u64,
    /// Longest archive that goes to Lambda directly, in bytes before base64: 50 MiB. A longer one goes through S3.
    pub direct_upload: u64,
    /// Longest archive once it is unpacked, in bytes: 250 MiB.
    pub unpacked: u64,
    /// All environment variables of a function together, in bytes: 4 KiB.
    pub environment: usize,
}

impl Limits {
    setters! {
        /// Sets the longest argument of an invocation that is waited for, in bytes.
        with_payload(payload: u64);
        /// Sets the longest result, in bytes.
        with_result(result: u64);
        /// Sets the longest argument of a submitted invocation, in bytes.
        with_submit_payload(submit_payload: u64);
        /// Sets the longest archive that goes to Lambda directly, in bytes.
        with_direct_upload(direct_upload: u64);
        /// Sets the longest archive once it is unpacked, in bytes.
        with_unpacked(unpacked: u64);
        /// Sets the size of all environment variables of a function together, in bytes.
        with_environment(environment: usize);
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            payload: 6 << 20,
            result: (6 << 20) + 100,
            submit_payload: 512 << 10,
            direct_upload: 50 << 20,
            unpacked: 250 << 20,
            environment: 4 << 10,
        }
    }
}
