//! The services of AWS that Falco speaks to, and where they are.

use std::collections::BTreeMap;

use falco_core::{Operation, Result};
use falco_http::base_url;
use reqwest::Url;

use super::partition::Partition;

/// A service of AWS that Falco uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Service {
    /// Lambda: the functions themselves.
    Lambda,
    /// SQS: the results of submitted invocations.
    Sqs,
    /// CloudWatch Logs: what functions print.
    Logs,
    /// IAM: execution roles.
    Iam,
    /// STS: the account that the credentials belong to.
    Sts,
    /// S3: archives that are too long for a direct upload.
    S3,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Lambda, Self::Sqs, Self::Logs, Self::Iam, Self::Sts, Self::S3];

    /// The service's name in signatures, and in the names of hosts.
    pub(crate) fn signing_name(self) -> &'static str {
        match self {
            Self::Lambda => "lambda",
            Self::Sqs => "sqs",
            Self::Logs => "logs",
            Self::Iam => "iam",
            Self::Sts => "sts",
            Self::S3 => "s3",
        }
    }

    /// The service's id in profiles, as in `[services x] lambda = endpoint_url = ..`.
    pub(crate) fn profile_id(self) -> &'static str {
        match self {
            // The id is that of the service's model, which is not the name that its requests are signed with.
            Self::Logs => "cloudwatch_logs",
            other => other.signing_name(),
        }
    }

    /// The variable that moves this service alone, such as `AWS_ENDPOINT_URL_LAMBDA`.
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_aws::Service;
    ///
    /// // Not `AWS_ENDPOINT_URL_LOGS`, which no tool of AWS reads.
    /// assert_eq!(Service::Logs.endpoint_variable(), "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS");
    /// ```
    pub fn endpoint_variable(self) -> String {
        format!("AWS_ENDPOINT_URL_{}", self.profile_id().to_ascii_uppercase())
    }
}

/// Where requests to a service go, and what they are signed for.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) url: Url,
    pub(crate) signing_region: String,
    /// Whether the endpoint was overridden; buckets are then in the path, not in the host.
    pub(crate) is_custom: bool,
}

/// The endpoint of each service.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints(BTreeMap<Service, Endpoint>);

impl Endpoints {
    pub(crate) fn new(
        region: &str,
        partition: Partition,
        overrides: &BTreeMap<Service, String>,
    ) -> Result<Self> {
        let mut endpoints = BTreeMap::new();
        for service in Service::ALL {
            let signing_region = match service {
                Service::Iam => partition.iam_region,
                _ => region,
            };
            let (text, is_custom) = match overrides.get(&service) {
                Some(url) => (url.clone(), true),
                None => (default_url(service, region, partition), false),
            };
            let url = parse(service, &text)?;
            endpoints.insert(
                service,
                Endpoint { url, signing_region: signing_region.to_owned(), is_custom },
            );
        }
        Ok(Self(endpoints))
    }

    /// Whether none of them needs TLS.
    pub(crate) fn are_plain_http(&self) -> bool {
        self.0.values().all(|endpoint| endpoint.url.scheme() == "http")
    }

    pub(crate) fn get(&self, service: Service) -> &Endpoint {
        // `new` fills in every service, so the index is always there.
        &self.0[&service]
    }
}

fn default_url(service: Service, region: &str, partition: Partition) -> String {
    match service {
        Service::Iam => format!("https://{}", partition.iam_host),
        other => format!("https://{}.{region}.{}", other.signing_name(), partition.suffix),
    }
}

fn parse(service: Service, text: &str) -> Result<Url> {
    base_url(text).map_err(|error| {
        error
            .context(format_args!("the endpoint of {service:?}"))
            .at(Operation::new(crate::NAME, "configure"))
            .with_hint(format!(
                "set {} or AWS_ENDPOINT_URL to something like http://127.0.0.1:4566",
                service.endpoint_variable()
            ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(region: &str) -> Endpoints {
        Endpoints::new(region, Partition::of(region), &BTreeMap::new()).unwrap()
    }

    #[test]
    fn hosts_follow_region_and_partition_and_iam_is_global() {
        let frankfurt = endpoints("eu-central-1");
        let host = |service| frankfurt.get(service).url.host_str().unwrap().to_owned();
        assert_eq!(host(Service::Lambda), "lambda.eu-central-1.amazonaws.com");
        assert_eq!(host(Service::Logs), "logs.eu-central-1.amazonaws.com");
        assert_eq!(host(Service::Iam), "iam.amazonaws.com");
        assert_eq!(frankfurt.get(Service::Iam).signing_region, "us-east-1");
        assert_eq!(frankfurt.get(Service::Sqs).signing_region, "eu-central-1");
        let beijing = endpoints("cn-north-1");
        assert_eq!(
            beijing.get(Service::Lambda).url.as_str(),
            "https://lambda.cn-north-1.amazonaws.com.cn/"
        );
        assert_eq!(beijing.get(Service::Iam).signing_region, "cn-north-1");
    }

    #[test]
    fn an_overridden_endpoint_changes_neither_signing_region_nor_service() {
        let overrides =
            Service::ALL.map(|service| (service, "http://127.0.0.1:4566/aws".to_owned())).into();
        let endpoints =
            Endpoints::new("eu-west-1", Partition::of("eu-west-1"), &overrides).unwrap();
        let iam = endpoints.get(Service::Iam);
        assert_eq!((iam.url.path(), iam.signing_region.as_str()), ("/aws", "us-east-1"));
        assert!(iam.is_custom);
    }

    #[test]
    fn a_bad_endpoint_is_named_with_the_variable_that_sets_it() {
        for endpoint in ["localhost:4566", "http://marked:marked@host"] {
            let overrides = [(Service::Logs, endpoint.to_owned())].into();
            let error =
                Endpoints::new("eu-west-1", Partition::of("eu-west-1"), &overrides).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS"), "{text}");
            assert!(!text.contains("marked"), "{text}");
        }
    }
}
