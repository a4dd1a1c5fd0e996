//! One base URL per service, each of which can be pointed elsewhere.

use falco_core::{Operation, Result};
use falco_http::base_url;
use reqwest::Url;

/// A service of Google's that Falco uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Service {
    /// Cloud Functions.
    CloudFunctions,
    /// Cloud Run, for the access to functions.
    Run,
    /// Cloud Tasks.
    CloudTasks,
    /// Cloud Storage.
    Storage,
    /// Cloud Logging.
    Logging,
    /// IAM credentials, for impersonation.
    IamCredentials,
    /// Resource Manager, for what the caller is allowed.
    ResourceManager,
    /// The metadata server, for tokens on Google Cloud.
    Metadata,
}

impl Service {
    pub(super) const ALL: [Self; 8] = [
        Self::CloudFunctions,
        Self::Run,
        Self::CloudTasks,
        Self::Storage,
        Self::Logging,
        Self::IamCredentials,
        Self::ResourceManager,
        Self::Metadata,
    ];

    /// The variable that overrides its base URL: gcloud's, or for the metadata server that of Google's libraries.
    fn variable(self) -> &'static str {
        match self {
            Self::CloudFunctions => "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDFUNCTIONS",
            Self::Run => "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN",
            Self::CloudTasks => "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDTASKS",
            Self::Storage => "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE",
            Self::Logging => "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING",
            Self::IamCredentials => "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS",
            Self::ResourceManager => "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER",
            Self::Metadata => "GCE_METADATA_HOST",
        }
    }
}

/// The base URLs of Google's services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoints {
    pub(crate) functions: Url,
    pub(crate) run: Url,
    pub(crate) tasks: Url,
    pub(crate) storage: Url,
    pub(crate) logging: Url,
    pub(crate) iam_credentials: Url,
    pub(crate) resource_manager: Url,
    pub(crate) metadata: Url,
}

impl Endpoints {
    pub(super) fn set_all(&mut self, base: Option<&str>) -> Result<()> {
        let Some(base) = base else { return Ok(()) };
        let url = parse("the endpoint for all services", base)?;
        for service in Service::ALL {
            *self.of(service) = url.clone();
        }
        Ok(())
    }

    pub(super) fn set(&mut self, service: Service, base: &str) -> Result<()> {
        *self.of(service) = parse(&format!("the endpoint of {service:?}"), base)?;
        Ok(())
    }

    pub(super) fn override_by(&mut self, var: &dyn Fn(&str) -> Option<String>) -> Result<()> {
        for service in Service::ALL {
            let name = service.variable();
            let Some(text) = var(name) else { continue };
            // Libraries take host and port only.
            let is_host = service == Service::Metadata && !text.contains("://");
            let text = if is_host { format!("http://{text}") } else { text };
            *self.of(service) = parse(name, &text)?;
        }
        Ok(())
    }

    fn of(&mut self, service: Service) -> &mut Url {
        match service {
            Service::CloudFunctions => &mut self.functions,
            Service::Run => &mut self.run,
            Service::CloudTasks => &mut self.tasks,
            Service::Storage => &mut self.storage,
            Service::Logging => &mut self.logging,
            Service::IamCredentials => &mut self.iam_credentials,
            Service::ResourceManager => &mut self.resource_manager,
            Service::Metadata => &mut self.metadata,
        }
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
            resource_manager: google("https://cloudresourcemanager.googleapis.com/"),
            metadata: google("http://metadata.google.internal/"),
        }
    }
}

/// A base URL with exactly one final slash, so that relative paths are appended and not substituted.
fn parse(setting: &str, text: &str) -> Result<Url> {
    let base = format!("{}/", text.trim().trim_end_matches('/'));
    base_url(&base)
        .map_err(|error| error.context(setting).at(Operation::new(crate::NAME, "configure")))
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
    fn an_invalid_base_url_is_refused_by_the_name_of_its_setting() {
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
