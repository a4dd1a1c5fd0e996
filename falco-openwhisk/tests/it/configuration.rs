//! Settings come from where `wsk` takes them, and a wrong one is named.

use std::collections::HashMap;
use std::path::Path;

use falco_core::{Error, ErrorKind, Platform};
use falco_fakes::openwhisk::{FAKE_AUTH, FakeOpenWhisk};
use falco_openwhisk::{ClientConfig, OpenWhisk, OpenWhiskConfig};
use tempfile::TempDir;

use crate::support::echo;

const KEY: &str = "uuid:marked-key";

fn from(variables: &[(&str, &str)]) -> Result<OpenWhiskConfig, Error> {
    let variables: HashMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    OpenWhiskConfig::builder().build_with(&|name| variables.get(name).cloned())
}

/// A home directory with a `.wskprops`.
fn home(props: &str) -> TempDir {
    let home = TempDir::new().unwrap();
    std::fs::write(home.path().join(".wskprops"), props).unwrap();
    home
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_environment_goes_before_the_file_and_the_builder_before_both() {
    let home = home("APIHOST=from.file\nAUTH=file:key\nNAMESPACE=team\nAPIVERSION=v2\n");
    let home = text(home.path());
    let config = from(&[("HOME", home)]).unwrap();
    let shown = format!("{config:?}");
    for expected in ["https", "from.file", "team", "v2"] {
        assert!(shown.contains(expected), "{shown}");
    }
    let config = from(&[("HOME", home), ("WHISK_APIHOST", "from.env"), ("WHISK_APIVERSION", "v3")]);
    let shown = format!("{:?}", config.unwrap());
    assert!(
        shown.contains("from.env") && shown.contains("v3") && shown.contains("team"),
        "{shown}"
    );

    let variables = |name: &str| (name == "WHISK_APIHOST").then(|| "from.env".to_owned());
    let builder = OpenWhiskConfig::builder().apihost("from.builder").auth(KEY);
    let shown = format!("{:?}", builder.build_with(&variables).unwrap());
    assert!(shown.contains("from.builder"), "{shown}");
}

#[test]
fn a_named_file_hides_the_one_at_home() {
    let home = home("APIHOST=at.home\nAUTH=a:b\n");
    let other = TempDir::new().unwrap();
    let file = other.path().join("props");
    std::fs::write(&file, "APIHOST=named.file\nAUTH=a:b\n").unwrap();
    let config = from(&[("HOME", text(home.path())), ("WSK_CONFIG_FILE", text(&file))]).unwrap();
    assert!(format!("{config:?}").contains("named.file"));
    let error = from(&[("HOME", text(home.path())), ("WSK_CONFIG_FILE", "")]).unwrap_err();
    assert!(error.to_string().contains("WHISK_APIHOST"), "{error}");
}

#[test]
fn whatever_is_wrong_is_named_and_no_key_is_shown() {
    let missing_pair = home("APIHOST=h\nAUTH=a:b\nCERT=cert.pem\n");
    let with_bom = home("\u{feff}APIHOST=h\nAUTH=uuid:marked-key\n");
    let missing_file = home("APIHOST=h\nAUTH=a:b\nCERT=cert.pem\nKEY=key.pem\n");
    let host = |value: &'static str| vec![("WHISK_APIHOST", value), ("WHISK_AUTH", KEY)];
    let auth = |value: &'static str| vec![("WHISK_APIHOST", "h"), ("WHISK_AUTH", value)];
    let cases: Vec<(Vec<(&str, &str)>, &str)> = vec![
        (vec![], "WHISK_APIHOST"),
        (vec![("WHISK_APIHOST", "h")], "WHISK_AUTH"),
        (host("http://"), "APIHOST"),
        (host("http://h:port"), "APIHOST"),
        (host("http://h?query"), "APIHOST"),
        (host("httpx://h"), "APIHOST"),
        (host("https://user:marked-key@h"), "APIHOST"),
        (auth("marked-key-without-colon"), "AUTH"),
        (auth("\"uuid:marked-key\""), "AUTH"),
        (auth("uuid:marked-key\n"), "AUTH"),
        (vec![("WSK_CONFIG_FILE", "/no/such/file")], "WSK_CONFIG_FILE"),
        (vec![("HOME", text(missing_pair.path()))], "CERT and KEY"),
        (vec![("HOME", text(with_bom.path()))], "byte order mark"),
        (vec![("HOME", text(with_bom.path()))], ".wskprops"),
        (vec![("HOME", text(missing_file.path()))], "CERT"),
    ];
    for (variables, named) in cases {
        let error = from(&variables).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(named), "{shown}");
        assert!(!shown.contains("marked-key"), "{shown}");
    }
    let error =
        OpenWhiskConfig::builder().apihost("h").auth(KEY).namespace("a/b").build().unwrap_err();
    assert!(error.to_string().contains("NAMESPACE"), "{error}");
}

#[test]
fn the_key_is_in_no_debug() {
    let builder = OpenWhiskConfig::builder().apihost("h").auth(KEY).http(
        ClientConfig::new("test")
            .with_proxy("http://user:marked-key@proxy")
            .with_client_certificate("marked-key"),
    );
    let shown = format!("{builder:?} {:?}", builder.clone().build().unwrap());
    assert!(!shown.contains("marked-key"), "{shown}");
}

#[tokio::test]
async fn a_key_from_a_file_is_read_again_when_the_server_refuses_it() {
    let fake = FakeOpenWhisk::with(echo());
    let props = |key: &str| format!("APIHOST={}\nAUTH={key}\n", fake.url());
    let home = home(&props(FAKE_AUTH));
    let file = home.path().join(".wskprops");
    let in_file = [("HOME", text(home.path()))];
    let in_environment = [("HOME", text(home.path())), ("WHISK_AUTH", FAKE_AUTH)];
    let platform = OpenWhisk::connect(from(&in_file).unwrap()).await.unwrap();
    let fixed = OpenWhisk::connect(from(&in_environment).unwrap()).await.unwrap();

    fake.change(|settings| settings.key = KEY.to_owned());
    for unusable in [FAKE_AUTH, "half-a-ke", ""] {
        std::fs::write(&file, props(unusable)).unwrap();
        let error = platform.list_deployments().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{unusable}: {error}");
    }
    std::fs::write(&file, props(KEY)).unwrap();
    // The refusal makes it read the file.
    platform.list_deployments().await.unwrap_err();
    platform.list_deployments().await.unwrap();
    fixed.list_deployments().await.unwrap_err();
    let error = fixed.list_deployments().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "a key from the environment stays: {error}");
    assert!(!format!("{platform:?} {error:?}").contains("marked-key"));
}
