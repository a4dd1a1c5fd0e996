use falco_core::*;
use falco_gcp::{Gcp, fake::Fake, *};

#[tokio::test]
async fn smoke() {
    let fake = Fake::start();
    let config = fake.config().with_submission(Submission::CloudTasks(CloudTasks::default()));
    let platform = Gcp::connect(config).await.unwrap();
    for runtime in ["python:3", "nodejs:22"] {
        let runtime: RuntimeName = runtime.parse().unwrap();
        let f = falco_testkit::fixture::function("hello-x", &runtime).unwrap();
        let d = platform.deploy(&f).await.unwrap();
        for args in [r#"{"do":"echo","value":"größe"}"#, r#"{"do":"print","stdout":["a","b"],"stderr":["c"]}"#, r#"{"do":"raise","message":"x"}"#, r#"{"do":"bad_result"}"#, r#"{"do":"exit","status":3}"#, r#"{"do":"version"}"#] {
            let i = Invocation::new("r", "s", "1", Payload::from_bytes(args).unwrap());
            let a = platform.invoke(&d, &i).await.unwrap();
            println!("{a:?}");
            println!("{:?}", platform.activation_log(&d, &[a.id.clone()]).await);
        }
        let i = Invocation::new("r", "s", "1", Payload::from_bytes(r#"{"do":"echo","value":1}"#).unwrap());
        let p = platform.submit(&d, &i).await.unwrap();
        loop {
            let c = platform.collect(&d, &[p.clone()]).await.unwrap();
            if !c.finished.is_empty() { println!("{c:?}"); break; }
            tokio::time::sleep(c.poll_after).await;
        }
        platform.remove(&d).await.unwrap();
    }
    assert!(fake.is_clean());
}
