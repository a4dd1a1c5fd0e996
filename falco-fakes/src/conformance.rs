//! The fakes as the conformance suite of `falco-testkit` asks them.

use falco_core::async_trait;
use falco_testkit::conformance::Pause;

use crate::HttpFake;
use crate::http::Provider;

#[async_trait]
impl<P: Provider> Pause for HttpFake<P> {
    fn pause_after(&self, requests: u64) {
        // The last of them takes effect and is not answered.
        self.hold_after(requests.saturating_sub(1), true);
    }

    async fn paused(&self) {
        self.held().await;
    }

    fn go_on(&self) {
        Self::go_on(self);
    }
}

#[cfg(feature = "aws")]
mod aws {
    use falco_testkit::conformance::{Fake, Pause};

    use crate::FakeAws;

    impl Fake for FakeAws {
        fn calls(&self) -> u64 {
            self.requests_of("Invoke").len() as u64
        }

        fn place_stranger(&self, name: &str) {
            self.place_function(name);
        }

        fn leftovers(&self) -> Vec<String> {
            Self::leftovers(self)
        }

        fn server(&self) -> &dyn Pause {
            &**self
        }
    }
}

#[cfg(feature = "gcp")]
mod gcp {
    use falco_testkit::conformance::{Fake, Pause};

    use crate::{FakeGcp, Request};

    impl Fake for FakeGcp {
        fn calls(&self) -> u64 {
            // Called, or put into a queue of tasks.
            let is_call = |request: &Request| {
                let path = &request.path;
                request.method == "POST" && (path.starts_with("/run/") || path.ends_with("/tasks"))
            };
            self.count_requests(is_call) as u64
        }

        fn place_stranger(&self, name: &str) {
            self.place_function(name);
        }

        fn leftovers(&self) -> Vec<String> {
            Self::leftovers(self)
        }

        fn server(&self) -> &dyn Pause {
            &**self
        }
    }
}

#[cfg(feature = "openwhisk")]
mod openwhisk {
    use falco_testkit::conformance::{Fake, Pause};

    use crate::{FakeOpenWhisk, Request};

    impl Fake for FakeOpenWhisk {
        fn calls(&self) -> u64 {
            let is_call =
                |request: &Request| request.method == "POST" && request.path.contains("/actions/");
            self.count_requests(is_call) as u64
        }

        fn place_stranger(&self, name: &str) {
            self.place_action(name);
        }

        fn leftovers(&self) -> Vec<String> {
            self.actions().into_iter().map(|name| format!("action {name}")).collect()
        }

        fn server(&self) -> &dyn Pause {
            &**self
        }
    }
}

#[cfg(feature = "openfaas")]
mod openfaas {
    use falco_testkit::conformance::{Fake, Pause};

    use crate::FakeOpenFaas;

    impl Fake for FakeOpenFaas {
        fn calls(&self) -> u64 {
            self.requests_to("POST /function/").len() as u64
        }

        fn place_stranger(&self, name: &str) {
            self.place(name);
        }

        fn leftovers(&self) -> Vec<String> {
            self.names()
        }

        fn server(&self) -> &dyn Pause {
            &**self
        }
    }
}
