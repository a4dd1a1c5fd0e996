//! The fakes of the remote platforms, as the command finds them.

use std::any::Any;

use falco_fakes::{FakeAws, FakeGcp, FakeOpenWhisk};

use crate::program::{Machine, Printed};

/// A platform's fake, with the flags and the variables that lead to it.
pub(crate) struct Remote {
    pub(crate) platform: &'static str,
    flags: Vec<String>,
    environment: Vec<(&'static str, String)>,
    fake: Box<dyn Any + Send + Sync>,
}

impl Remote {
    pub(crate) fn aws() -> Self {
        Self::of_aws(FakeAws::start())
    }

    /// A fake of AWS that the test has set up.
    pub(crate) fn of_aws(aws: FakeAws) -> Self {
        let environment = vec![
            ("AWS_ENDPOINT_URL", aws.url().to_owned()),
            ("AWS_REGION", "eu-central-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", falco_fakes::aws::FAKE_ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", falco_fakes::aws::FAKE_SECRET.to_owned()),
            ("AWS_SESSION_TOKEN", "fake-session-token".to_owned()),
        ];
        Self { platform: "aws", flags: Vec::new(), environment, fake: Box::new(aws) }
    }

    pub(crate) fn gcp() -> Self {
        let gcp = FakeGcp::start();
        let environment = gcp.environment();
        Self { platform: "gcp", flags: Vec::new(), environment, fake: Box::new(gcp) }
    }

    pub(crate) fn openwhisk() -> Self {
        Self::of_openwhisk(FakeOpenWhisk::start())
    }

    /// A fake of OpenWhisk that the test has set up.
    pub(crate) fn of_openwhisk(openwhisk: FakeOpenWhisk) -> Self {
        let auth = falco_fakes::openwhisk::FAKE_AUTH;
        let flags = ["--apihost", openwhisk.url(), "--auth", auth].map(str::to_owned).to_vec();
        Self { platform: "openwhisk", flags, environment: Vec::new(), fake: Box::new(openwhisk) }
    }

    /// The fake of AWS, where it is one.
    pub(crate) fn fake_aws(&self) -> &FakeAws {
        self.fake.downcast_ref().unwrap()
    }

    /// The fake of OpenWhisk, where it is one.
    pub(crate) fn fake_openwhisk(&self) -> &FakeOpenWhisk {
        self.fake.downcast_ref().unwrap()
    }

    /// All of them.
    pub(crate) fn all() -> [Self; 3] {
        [Self::aws(), Self::gcp(), Self::openwhisk()]
    }

    /// Runs the command on this platform to its end.
    pub(crate) async fn run(&self, machine: &Machine, arguments: &[&str]) -> Printed {
        let mut command = machine.command(arguments);
        command.args(["--platform", self.platform]).args(&self.flags);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        tokio::task::spawn_blocking(move || Printed::of(command.output().unwrap())).await.unwrap()
    }
}
