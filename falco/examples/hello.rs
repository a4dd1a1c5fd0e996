//! The shortest program: one function, one invocation for each input, results in the order of the inputs.

#![allow(clippy::print_stdout, reason = "a program prints")]

use falco::prelude::*;
use serde::{Deserialize, Serialize};

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
    let source = "def main(args): return {'greeting': f'Hello {args[\"name\"]}!'}";
    let hello: Function<Person, Greeting> = Function::python("hello", source);

    let people = ["world", "Ada"].map(|name| Person { name });
    let platform = LocalPlatform::from_env().await?;
    for Greeting { greeting } in Run::on(platform).map(&hello, people).await? {
        println!("{greeting}");
    }
    Ok(())
}
