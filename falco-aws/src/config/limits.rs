//! Limits that the service does not report, and that have changed before.

/// Limits of AWS that no request reports. AWS has raised some before, so they are settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest argument of an invocation that is waited for, in bytes: 6 MiB.
    pub payload: u64,
    /// Longest result, in bytes: 100 more than that. The shims need 256 of them for what they measure.
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
