//! An environment of a test's own: variables, and the files that they name.

use std::collections::HashMap;
use std::io::Write as _;

use falco_aws::AwsConfig;
use falco_fakes::aws::{FAKE_ACCESS_KEY, FAKE_SECRET};
use falco_http::ClientConfig;
use tempfile::TempDir;

/// Variables, and the two files that they name.
pub struct Environment {
    pub variables: HashMap<String, String>,
    pub directory: TempDir,
}

impl Environment {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut environment = Self { variables: HashMap::new(), directory };
        // The machine's own files stay outside.
        environment.file("AWS_CONFIG_FILE", "config", "");
        environment.file("AWS_SHARED_CREDENTIALS_FILE", "credentials", "");
        environment
    }

    pub fn file(&mut self, variable: &str, name: &str, text: &str) {
        let path = self.directory.path().join(name);
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        self.set(variable, path.to_str().unwrap());
    }

    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    pub async fn load(&self) -> falco_core::Result<AwsConfig> {
        let http = ClientConfig::new("test").with_plain_http_only(true);
        AwsConfig::builder().http(http).build_with(|name| self.variables.get(name).cloned()).await
    }

    pub fn credentials(&mut self) -> &mut Self {
        self.set("AWS_ACCESS_KEY_ID", FAKE_ACCESS_KEY).set("AWS_SECRET_ACCESS_KEY", FAKE_SECRET)
    }
}
