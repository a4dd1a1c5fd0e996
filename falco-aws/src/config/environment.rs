//! Settings from the environment, by the precedence of AWS's own tools.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_types::service_config::ServiceConfigKey;
use falco_core::{Error, Operation, Result};

use super::shared::SharedSettings;
use super::{AwsConfigBuilder, Service};
use crate::architecture::Architecture;

/// A look-up of variables: the process's environment, or a test's.
type Variables<'a> = &'a (dyn Fn(&str) -> Option<String> + Send + Sync);

/// Fills in what `builder` leaves open.
pub(super) async fn fill(
    mut builder: AwsConfigBuilder,
    variables: Variables<'_>,
) -> Result<AwsConfigBuilder> {
    // An empty variable counts as none, as with AWS's own tools.
    let get = |name: &str| variables(name).filter(|value| !value.trim().is_empty());
    check_files(&get)?;
    let settings = SharedSettings::new(&builder, &get);
    let shared = settings.load().await;
    if builder.region.is_none() {
        builder.region = shared.region().map(|region| region.as_ref().to_owned());
    }
    if builder.credentials.is_none() {
        // As `--profile` does with AWS's own tool, a profile that was named in code goes before the variables.
        let variables = if builder.profile.is_none() { from_variables(&get) } else { None };
        let chain = || shared.credentials_provider().map(|_| settings.into_provider());
        builder.credentials = variables.or_else(chain);
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
    if builder.architecture.is_none() {
        builder.architecture = get(ARCHITECTURE).map(|name| architecture(&name)).transpose()?;
    }
    Ok(builder)
}

const ARCHITECTURE: &str = "FALCO_AWS_ARCHITECTURE";

fn architecture(name: &str) -> Result<Architecture> {
    name.trim().parse().map_err(|error: Error| {
        error.context(ARCHITECTURE).at(Operation::new(crate::NAME, "configure"))
    })
}

/// The variables that name the two shared files, and where the files are without them.
const FILES: [(&str, &str); 2] =
    [("AWS_CONFIG_FILE", ".aws/config"), ("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials")];

/// Refuses shared files that begin with a byte order mark: what follows it on the first line would not be found.
fn check_files(get: &(dyn Fn(&str) -> Option<String> + Send + Sync)) -> Result<()> {
    const MARKS: [(&[u8], &str); 3] =
        [(b"\xef\xbb\xbf", "UTF-8"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16")];
    for (variable, default) in FILES {
        let at_home = || Some(PathBuf::from(get("HOME")?).join(default));
        let Some(path) = get(variable).map(PathBuf::from).or_else(at_home) else { continue };
        let mut start = Vec::new();
        // A file that is missing or cannot be read is AWS's own library's to report.
        let Ok(file) = File::open(&path) else { continue };
        let Ok(_) = file.take(3).read_to_end(&mut start) else { continue };
        if let Some((_, encoding)) = MARKS.iter().find(|(mark, _)| start.starts_with(mark)) {
            let message = format!("{} begins with a byte order mark of {encoding}", path.display());
            return Err(Error::invalid_input(message)
                .at(Operation::new(crate::NAME, "configure"))
                .with_hint("save the file as UTF-8 without BOM"));
        }
    }
    Ok(())
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
