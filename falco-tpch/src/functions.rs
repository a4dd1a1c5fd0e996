//! The functions in Rust without the driver: a smaller executable for the flag `--functions` of `tpch`.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, reason = "it is a program")]

use std::process::ExitCode;

use falco_tpch::Native;

fn main() -> ExitCode {
    Native::new().functions().serve_if_worker();
    eprintln!("tpch-functions: a platform starts it; name it to the driver: tpch --functions PATH");
    ExitCode::FAILURE
}
