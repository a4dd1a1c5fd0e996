//! The ways to speak to a container.

use std::collections::HashMap;
use std::str::FromStr;

use bollard::models::ImageConfig;
use falco_core::{Error, Result};

/// The way in which a container takes requests and gives answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// Lines over the container's attached streams, without network. A function of source text or an archive runs under
    /// Falco's shim; an image that is the function speaks OpenWhisk's ActionLoop: requests on stdin, answers on descriptor 3.
    #[default]
    Pipe,
    /// OpenWhisk's action interface: `POST /init` and `POST /run` on port 8080. A function of source text or an archive is
    /// what `falco-openwhisk` uploads.
    Action,
    /// The emulator in AWS's images: `POST /2015-03-31/functions/function/invocations` on port 8080. A function of source
    /// text or an archive is what `falco-aws` uploads, in `/var/task`.
    Lambda,
}

/// The label by which an image names its protocol: `pipe`, `action` or `lambda`.
pub(crate) const LABEL: &str = "falco.protocol";

/// The entry point of AWS's images, which starts the emulator where there is no Lambda around it.
const LAMBDA_ENTRYPOINT: &str = "lambda-entrypoint.sh";

/// The entry point of OpenWhisk's images that are made from its proxy.
const ACTION_ENTRYPOINT: &str = "/bin/proxy";

impl Protocol {
    /// The protocol of an image: that of its label, else that of its entry point, as AWS's and OpenWhisk's images have it, else
    /// [`Pipe`](Self::Pipe).
    pub(crate) fn of_image(config: Option<&ImageConfig>) -> Result<Self> {
        let Some(config) = config else { return Ok(Self::Pipe) };
        if let Some(name) =
            config.labels.as_ref().and_then(|labels: &HashMap<_, _>| labels.get(LABEL))
        {
            return name.parse();
        }
        let entrypoint = config.entrypoint.as_deref().unwrap_or_default();
        let starts_with =
            |name: &str| entrypoint.first().is_some_and(|first| first.ends_with(name));
        Ok(match () {
            () if starts_with(LAMBDA_ENTRYPOINT) => Self::Lambda,
            () if starts_with(ACTION_ENTRYPOINT) => Self::Action,
            () => Self::Pipe,
        })
    }

    /// Whether the container is reached by a port.
    pub(crate) fn has_port(self) -> bool {
        self != Self::Pipe
    }
}

impl FromStr for Protocol {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "pipe" => Ok(Self::Pipe),
            "action" => Ok(Self::Action),
            "lambda" => Ok(Self::Lambda),
            other => Err(Error::invalid_input(format!(
                "invalid protocol {other:?} of a container: use pipe, action or lambda"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(label: Option<&str>, entrypoint: &[&str]) -> Result<Protocol> {
        let labels = label.map(|name| HashMap::from([(LABEL.to_owned(), name.to_owned())]));
        let entrypoint = Some(entrypoint.iter().map(|&word| word.to_owned()).collect());
        let config = ImageConfig { labels, entrypoint, ..ImageConfig::default() };
        Protocol::of_image(Some(&config))
    }

    #[test]
    fn the_label_of_an_image_goes_before_its_entry_point() {
        assert_eq!(of(None, &[]).unwrap(), Protocol::Pipe);
        assert_eq!(of(None, &["/lambda-entrypoint.sh"]).unwrap(), Protocol::Lambda);
        assert_eq!(of(None, &["/bin/proxy"]).unwrap(), Protocol::Action);
        assert_eq!(of(Some("action"), &["/lambda-entrypoint.sh"]).unwrap(), Protocol::Action);
        assert_eq!(Protocol::of_image(None).unwrap(), Protocol::Pipe);
        let error = of(Some("smoke"), &[]).unwrap_err().to_string();
        assert!(error.contains("\"smoke\"") && error.contains("lambda"), "{error}");
    }
}
