//! One base URL per service, each of which can be pointed elsewhere.

use falco_core::Result;
use reqwest::Url;

use super::invalid;

/// The base URLs of Google's services.
///
/// The variables of [`from_vars`](crate::Config::from_vars) set them one by one; [`all_at`](Self::all_at) points
/// every one of them at a local server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Endpoints {
    /// Cloud Functions.
    pub functions: Url,
    /// Cloud Run, for the access to functions.
    pub run: Url,
    /// Cloud Tasks.
    pub tasks: Url,
    /// Cloud Storage.
    pub storage: Url,
    /// Cloud Logging.
    pub logging: Url,
    /// IAM credentials, for impersonation.
    pub iam_credentials: Url,
    /// The metadata server, for tokens on Google Cloud.
    pub metadata: Url,
}

/// The variables of gcloud that override a service's base URL.
pub(super) const OVERRIDES: [&str; 6] = [
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDFUNCTIONS",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDTASKS",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS",
];

impl Endpoints {
    /// Every service at `base`, such as `http://127.0.0.1:8080`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when `base` is no http or https URL.
    pub fn all_at(base: &str) -> Result<Self> {
        let url = parse("endpoint", base)?;
        Ok(Self {
            functions: url.clone(),
            run: url.clone(),
            tasks: url.clone(),
            storage: url.clone(),
            logging: url.clone(),
            iam_credentials: url.clone(),
            metadata: url,
        })
    }

    pub(super) fn override_by(&mut self, var: &dyn Fn(&str) -> Option<String>) -> Result<()> {
        let [functions, run, tasks, storage, logging, iam_credentials] = OVERRIDES;
        for (name, url) in [
            (functions, &mut self.functions),
            (run, &mut self.run),
            (tasks, &mut self.tasks),
            (storage, &mut self.storage),
            (logging, &mut self.logging),
            (iam_credentials, &mut self.iam_credentials),
        ] {
            if let Some(text) = var(name) {
                *url = parse(name, &text)?;
            }
        }
        if let Some(host) = var("GCE_METADATA_HOST") {
            let text = if host.contains("://") { host } else { format!("http://{host}") };
            self.metadata = parse("GCE_METADATA_HOST", &text)?;
        }
        Ok(())
    }
}

impl Default for Endpoints {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "constants, each parsed by the tests below")]
        let google = |host: &str| Url::parse(host).expect("a constant URL");
        Self {
            functions: google("https://cloudfunctions.googleapis.com/"),
            run: google("https://run.googleapis.com/"),
            tasks: google("https://cloudtasks.googleapis.com/"),
            storage: google("https://storage.googleapis.com/"),
            logging: google("https://logging.googleapis.com/"),
            iam_credentials: google("https://iamcredentials.googleapis.com/"),
            metadata: google("http://metadata.google.internal/"),
        }
    }
}

/// A base URL with exactly one final slash, so that relative paths are appended and not substituted.
fn parse(setting: &str, text: &str) -> Result<Url> {
    let base = format!("{}/", text.trim().trim_end_matches('/'));
    let wrong = |why: String| {
        invalid(format!("{setting} is no base URL: {why}"))
            .with_hint("write it as https://host/ or http://127.0.0.1:8080")
    };
    let url = Url::parse(&base).map_err(|e| wrong(e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong(format!("{:?} is neither http nor https", url.scheme())));
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return Err(wrong("it may hold a host and a path, and nothing else".into()));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_means_the_same_with_and_without_a_final_slash() {
        for text in ["http://127.0.0.1:1/x", "http://127.0.0.1:1/x/", " http://127.0.0.1:1/x// "] {
            let url = parse("S", text).unwrap();
            assert_eq!(url.join("v2/y").unwrap().as_str(), "http://127.0.0.1:1/x/v2/y");
        }
    }

    #[test]
    fn what_is_no_base_url_is_refused_by_the_name_of_its_setting() {
        for text in ["", "ftp://x", "localhost:8080", "http://", "http://u:p@h/", "https://h/?a=b"]
        {
            let error = parse("CLOUDSDK_X", text).unwrap_err();
            assert!(error.to_string().contains("CLOUDSDK_X"), "{text}: {error}");
            assert!(!error.to_string().contains("u:p"), "{error}");
        }
    }

    #[test]
    fn the_defaults_are_googles() {
        assert_eq!(Endpoints::default().run.as_str(), "https://run.googleapis.com/");
    }
}
