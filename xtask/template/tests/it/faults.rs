//! Faults that only this provider has, and those that no HTTP fake can show. Add yours.

use falco_core::{Deployment, ErrorKind, Invocation, Payload, Platform};
use falco_testkit::{RawPeer, Script, Step};
use falco_{{name}}::{{{Name}}, {{Name}}Config};

#[tokio::test]
async fn an_answer_that_breaks_off_leaves_it_open_whether_the_function_ran() {
    for script in [Script::reset_after_reading(), Script::proxied_html("502 Bad Gateway")] {
        let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]".to_vec();
        let peer = RawPeer::start([Script::new([Step::Read, Step::Send(ok)]), script]).await.unwrap();
        let config = {{Name}}Config::builder().endpoint(peer.url()).build().unwrap();
        let platform = {{Name}}::connect(config).await.unwrap();
        let deployment = Deployment::new("f", "python:3".parse().unwrap());
        let invocation = Invocation::new("run", "stage", "1", Payload::empty());
        let error = platform.invoke(&deployment, &invocation).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.may_have_run(), "{error:?}");
    }
}
