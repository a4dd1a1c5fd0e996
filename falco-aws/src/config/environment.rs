//! What the environment says, by the precedence of AWS's own tools.

use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_types::region::Region;
use aws_types::service_config::ServiceConfigKey;
use falco_core::Result;

use super::{AwsConfigBuilder, Service};

/// A look-up of variables: the process's environment, or a test's.
type Variables<'a> = &'a (dyn Fn(&str) -> Option<String> + Send + Sync);

/// Fills in what `builder` leaves open.
pub(super) async fn fill(
    mut builder: AwsConfigBuilder,
    variables: Variables<'_>,
) -> Result<AwsConfigBuilder> {
    // An empty variable counts as none, as with AWS's own tools.
    let get = |name: &str| variables(name).filter(|value| !value.trim().is_empty());
    let shared = load_shared(&builder, &get).await;
    if builder.region.is_none() {
        builder.region = shared.region().map(|region| region.as_ref().to_owned());
    }
    if builder.credentials.is_none() {
        // As `--profile` does with AWS's own tool, a profile that was named in code goes before the variables.
        let variables = if builder.profile.is_none() { from_variables(&get) } else { None };
        builder.credentials = variables.or_else(|| shared.credentials_provider());
    }
    if builder.endpoint.is_none() && !is_true(get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")) {
        for service in Service::ALL {
            let found = get(&service.endpoint_variable())
                .or_else(|| get("AWS_ENDPOINT_URL"))
                .or_else(|| from_profile(&shared, service));
            if let Some(url) = found {
                builder.endpoints.entry(service).or_insert(url);
            }
        }
    }
    builder.role = builder.role.or_else(|| get("FALCO_AWS_ROLE"));
    builder.bucket = builder.bucket.or_else(|| get("FALCO_AWS_BUCKET"));
    Ok(builder)
}

/// Reads the shared files and sets up the credential chain. The chain itself is asked at the first request only.
async fn load_shared(
    builder: &AwsConfigBuilder,
    get: &(dyn Fn(&str) -> Option<String> + Send + Sync),
) -> SdkConfig {
    let mut loader: ConfigLoader = aws_config::defaults(BehaviorVersion::latest());
    let region =
        builder.region.clone().or_else(|| get("AWS_REGION")).or_else(|| get("AWS_DEFAULT_REGION"));
    if let Some(region) = region {
        loader = loader.region(Region::new(region));
    }
    if let Some(profile) = builder.profile.clone().or_else(|| get("AWS_PROFILE")) {
        loader = loader.profile_name(profile);
    }
    let config = get("AWS_CONFIG_FILE");
    let credentials = get("AWS_SHARED_CREDENTIALS_FILE");
    if config.is_some() || credentials.is_some() {
        let mut files = EnvConfigFiles::builder();
        files = match config {
            Some(path) => files.with_file(EnvConfigFileKind::Config, path),
            None => files.include_default_config_file(true),
        };
        files = match credentials {
            Some(path) => files.with_file(EnvConfigFileKind::Credentials, path),
            None => files.include_default_credentials_file(true),
        };
        loader = loader.profile_files(files.build());
    }
    loader.load().await
}

fn from_variables(get: &dyn Fn(&str) -> Option<String>) -> Option<SharedCredentialsProvider> {
    let credentials = Credentials::new(
        get("AWS_ACCESS_KEY_ID")?,
        get("AWS_SECRET_ACCESS_KEY")?,
        get("AWS_SESSION_TOKEN"),
        None,
        "environment",
    );
    Some(SharedCredentialsProvider::new(credentials))
}

/// The profile's `services` section, then its `endpoint_url`.
fn from_profile(shared: &SdkConfig, service: Service) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id(service.profile_id())
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .ok()?;
    shared.service_config()?.load_config(key)
}

fn is_true(value: Option<String>) -> bool {
    value.is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}
