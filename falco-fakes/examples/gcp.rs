//! Starts the fake and prints the variables that make other programs use it: for trying a pipeline without an account.
//!
//! ```text
//! cargo run -p falco-fakes --features gcp --example gcp > /tmp/fake.env &
//! set -a; . /tmp/fake.env; set +a
//! cargo run -p falco-examples --bin hello -- --platform gcp Ada
//! ```
#![allow(clippy::print_stdout, reason = "it is a program")]

fn main() {
    let fake = falco_fakes::FakeGcp::start();
    for (name, value) in fake.environment() {
        println!("{name}={value}");
    }
    // Until it is interrupted.
    loop {
        std::thread::park();
    }
}
