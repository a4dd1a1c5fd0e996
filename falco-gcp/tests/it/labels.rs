//! Owners and runs that are longer than a label of Google's.

use std::time::{Duration, SystemTime};

use falco_core::{Ownership, Platform};

use crate::support::{ECHO, connect, echoing, python};

#[tokio::test]
async fn a_long_owner_and_run_are_found_by_the_clean_up_and_change_with_their_next_owner() {
    let fake = echoing();
    let platform = connect(fake.config()).await;
    let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    let run = "Nightly_Report.2026-11-30T12:07:07+01:00";
    for owner in [
        "Ada.Lovelace@Analytical-Engine.example.org:1234567.0123456789abcdef0123456789abcdef",
        "grace",
    ] {
        let ownership = Ownership::new(run, owner, expires);
        let function = python("echo", ECHO).with_ownership(ownership.clone());
        let deployment = platform.deploy(&function).await.unwrap();
        assert_eq!(deployment.ownership.as_ref(), Some(&ownership));
        let listed = platform.list_deployments().await.unwrap();
        assert_eq!(listed[0].ownership.as_ref(), Some(&ownership));
    }
}
