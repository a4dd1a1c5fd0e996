//! Reading what Google's own tools read.

use std::path::PathBuf;

use falco_core::{Error, ErrorKind, Operation, Result};

use super::{Credentials, GcpConfigBuilder};

type Vars<'a> = &'a dyn Fn(&str) -> Option<String>;

const PROJECT: [&str; 3] = ["GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT"];
const LOCATION: [&str; 3] =
    ["GOOGLE_CLOUD_LOCATION", "GOOGLE_CLOUD_REGION", "CLOUDSDK_FUNCTIONS_REGION"];
const IMPERSONATE: &str = "CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT";

/// Sets what is not set yet.
pub(super) fn fill_in(mut config: GcpConfigBuilder, var: Vars<'_>) -> Result<GcpConfigBuilder> {
    let first = |names: &[&str]| names.iter().find_map(|name| var(name));
    if config.credentials.is_none() {
        config.credentials = Some(credentials(var)?);
    }
    config.project = config.project.or_else(|| first(&PROJECT));
    config.location = config.location.or_else(|| first(&LOCATION));
    config.quota_project = config.quota_project.or_else(|| var("GOOGLE_CLOUD_QUOTA_PROJECT"));
    config.impersonate = config.impersonate.or_else(|| var(IMPERSONATE));
    config.endpoints.override_by(var)?;
    Ok(config)
}

/// Application Default Credentials, in their order.
fn credentials(var: Vars<'_>) -> Result<Credentials> {
    if let Some(path) = var("GOOGLE_APPLICATION_CREDENTIALS") {
        return Credentials::from_file(path).map_err(|e| {
            e.with_hint("GOOGLE_APPLICATION_CREDENTIALS has to name a credentials file of Google's")
        });
    }
    let file = gcloud_directory(var).map(|dir| dir.join("application_default_credentials.json"));
    // A file that cannot be examined is there: reading it says what is wrong.
    if let Some(file) = file.as_deref().filter(|file| !matches!(file.try_exists(), Ok(false))) {
        return Credentials::from_file(file);
    }
    if var("NO_GCE_CHECK").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        let looked_at = file.map_or("no home directory".to_owned(), |f| f.display().to_string());
        return Err(Error::new(ErrorKind::Unauthorized, format!(
            "no credentials: GOOGLE_APPLICATION_CREDENTIALS is not set, {looked_at} is not there, and NO_GCE_CHECK \
             rules out the metadata server"
        ))
        .at(Operation::new(crate::NAME, "configure"))
        .with_hint("run `gcloud auth application-default login`, or name a service account's key file"));
    }
    Ok(Credentials::Metadata)
}

fn gcloud_directory(var: Vars<'_>) -> Option<PathBuf> {
    if let Some(dir) = var("CLOUDSDK_CONFIG") {
        return Some(dir.into());
    }
    if cfg!(windows) {
        return var("APPDATA").map(|dir| PathBuf::from(dir).join("gcloud"));
    }
    var("HOME").map(|home| PathBuf::from(home).join(".config").join("gcloud"))
}

#[cfg(test)]
mod tests {
    use super::super::GcpConfig;
    use super::*;

    const KEY: &str = r#"{"type":"service_account","client_email":"e@p","private_key":"marked-secret",
                          "project_id":"of-the-key"}"#;

    fn read_vars(vars: &[(&str, &str)]) -> Result<GcpConfig> {
        GcpConfig::builder().build_with(&|name| {
            vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environments_project_comes_before_the_keys() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.json");
        std::fs::write(&path, KEY).unwrap();
        let key = ("GOOGLE_APPLICATION_CREDENTIALS", path.to_str().unwrap());
        assert_eq!(read_vars(&[key]).unwrap().project(), Some("of-the-key"));
        let with = |vars: &[(&'static str, &'static str)]| {
            read_vars(&[&[key], vars].concat()).unwrap().project.unwrap()
        };
        assert_eq!(with(&[("GCLOUD_PROJECT", "b")]), "b");
        assert_eq!(with(&[("GCLOUD_PROJECT", "b"), ("GOOGLE_CLOUD_PROJECT", "a")]), "a");
        assert_eq!(with(&[("GOOGLE_CLOUD_PROJECT", " ")]), "of-the-key");
    }

    #[test]
    fn gclouds_own_file_is_found_and_the_metadata_server_comes_last() {
        let dir = tempfile::tempdir().unwrap();
        let config_dir = ("CLOUDSDK_CONFIG", dir.path().to_str().unwrap());
        assert!(matches!(read_vars(&[config_dir]).unwrap().credentials, Credentials::Metadata));
        std::fs::write(dir.path().join("application_default_credentials.json"), KEY).unwrap();
        let found = read_vars(&[config_dir]).unwrap();
        let Credentials::File { content, .. } = found.credentials else { panic!("not of a file") };
        assert!(matches!(*content, Credentials::ServiceAccountKey(_)));
    }

    #[test]
    fn without_any_credentials_the_error_lists_what_was_looked_at() {
        let error = read_vars(&[("HOME", "/nowhere"), ("NO_GCE_CHECK", "True")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
        for word in ["GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/.config/gcloud", "NO_GCE_CHECK"] {
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn locations_endpoints_and_impersonation_are_read() {
        let config = read_vars(&[
            ("CLOUDSDK_FUNCTIONS_REGION", "r3"),
            ("GOOGLE_CLOUD_REGION", "r2"),
            ("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDTASKS", "http://127.0.0.1:1"),
            ("GCE_METADATA_HOST", "127.0.0.1:2"),
            (IMPERSONATE, "sa@p"),
        ])
        .unwrap();
        assert_eq!(config.location(), Some("r2"));
        assert_eq!(config.endpoints.tasks.as_str(), "http://127.0.0.1:1/");
        assert_eq!(config.endpoints.metadata.as_str(), "http://127.0.0.1:2/");
        assert_eq!(config.endpoints.run.as_str(), "https://run.googleapis.com/");
        assert!(matches!(config.credentials, Credentials::Impersonated { .. }));
    }

    #[test]
    fn a_wrong_setting_is_named() {
        for (name, value, word) in [
            ("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json", "/nowhere/key.json"),
            (
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN",
                "nonsense",
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN",
            ),
            ("GOOGLE_CLOUD_PROJECT", "a/b", "invalid project \"a/b\""),
            ("GOOGLE_CLOUD_LOCATION", "..", "invalid location"),
        ] {
            let error = read_vars(&[(name, value)]).unwrap_err();
            assert!(error.to_string().contains(word), "{name}: {error}");
        }
    }
}
