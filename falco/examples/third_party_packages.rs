//! A function with third-party packages: they travel with its code, in one archive.
//!
//! Install them into a folder, for the machine that the function will run on:
//!
//! ```text
//! pip install --target packages --platform manylinux2014_x86_64 --only-binary=:all: --python-version 3.12 numpy
//! ```

#![allow(clippy::print_stdout, reason = "a program prints")]

use falco::prelude::*;
use serde::{Deserialize, Serialize};

const MAIN: &str = r"
from greetings import greet

def main(args):
    return {'greeting': greet(args['name'])}
";

#[derive(Serialize)]
struct Person {
    name: &'static str,
}

#[derive(Deserialize)]
struct Greeting {
    greeting: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let packages = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/packages");
    let archive = Archive::from_directory(packages)?.with_file("__main__.py", MAIN)?;
    let function = Deployable::from_archive("hello", RuntimeName::python(), archive.to_zip()?);
    let hello: Function<Person, Greeting> = Function::new(function);

    let people = ["world", "Ada"].map(|name| Person { name });
    let platform = LocalPlatform::from_env().await?;
    for Greeting { greeting } in Run::on(platform).map(&hello, people).await? {
        println!("{greeting}");
    }
    Ok(())
}
