//! One run over two platforms: the first one, and the second for what the first has no room for.

#![allow(clippy::print_stdout, reason = "a program prints")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use falco::core::{Event, Monitor};
use falco::layers::{Part, Share, Spread};
use falco::prelude::*;

/// Counts where invocations ran.
#[derive(Debug, Default)]
struct Places(Mutex<BTreeMap<String, u32>>);

impl Monitor for Places {
    fn event(&self, event: &Event<'_>) -> Verdict {
        if let Event::Answered { activation, .. } = event {
            let place = activation.attribute("platform").unwrap_or("unknown").to_owned();
            let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *places.entry(place).or_default() += 1;
        }
        Verdict::Continue
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let source = "import time\n\ndef main(args):\n    time.sleep(0.1)\n    return args\n";
    let nap = Function::<BTreeMap<String, u32>, BTreeMap<String, u32>>::python("nap", source);

    // Two folders of this machine, as two clouds would be: Part::new(AwsLambda::from_env().await?).
    let local = async |name: &str| -> Result<Part> {
        let directory = std::env::temp_dir().join(format!("falco-{name}-{}", std::process::id()));
        let platform =
            LocalPlatform::connect(LocalConfig::builder().directory(directory).build()?).await?;
        Ok(Part::new(platform).named(name))
    };
    let parts = [local("first").await?.with_concurrency(2), local("second").await?];
    let spread = Spread::new(Share::Overflow, parts)?;

    let places = Arc::new(Places::default());
    let options = RunOptions::from(spread).with_monitor(places.clone());
    let inputs = (0..20).map(|n| BTreeMap::from([("n".to_owned(), n)]));
    let results = Run::on(options).map(&nap, inputs).await?;
    println!("{} results", results.len());
    println!("{:?}", places.0.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(())
}
