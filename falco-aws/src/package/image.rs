//! A function that is a container image, as Lambda takes it.

use falco_core::{Code, Deployable, Error, Result};

/// An image in Amazon's registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageCode {
    pub(crate) uri: String,
    /// The digest that the reference names, such as `sha256:1f2e..`.
    pub(crate) digest: Option<String>,
    /// The arguments of the image's program, which the images of AWS take as the handler; none leaves the image's own.
    pub(crate) command: Vec<String>,
}

impl ImageCode {
    /// The image that `function` is; none for a function of source text or an archive.
    ///
    /// # Errors
    ///
    /// `Unsupported` for code beside an image, and for arguments that are to be stored with one; `InvalidInput` for an image
    /// that is not in Amazon's registry of `region`, the only place from which Lambda takes images, and for an entry point
    /// beside arguments.
    pub(crate) fn of(function: &Deployable, region: &str) -> Result<Option<Self>> {
        let Code::Image(image) = &function.code else {
            return match &function.image {
                None => Ok(None),
                Some(image) => Err(Error::unsupported(format!(
                    "Lambda runs an image or code, not code in the image {image}"
                ))
                .with_hint("build the code into the image, and deploy Deployable::from_image")),
            };
        };
        if function.arguments.is_some() {
            return Err(Error::unsupported(format!(
                "arguments cannot be stored with {image}: Lambda changes nothing in an image"
            ))
            .with_hint(
                "put them into each payload, into environment variables or into the image",
            ));
        }
        let host = image.reference.split('/').next().unwrap_or_default();
        if !host.contains(".dkr.ecr") || !host.split('.').any(|part| part == region) {
            return Err(Error::invalid_input(format!(
                "Lambda takes images from Amazon's registry in {region}, and {image} is not there"
            ))
            .with_hint(format!(
                "push it to ACCOUNT.dkr.ecr.{region}.amazonaws.com/NAME:TAG, and name it so"
            )));
        }
        let command = match (&function.entry_point, image.arguments.as_slice()) {
            (None, arguments) => arguments.to_vec(),
            (Some(entry_point), []) => vec![entry_point.clone()],
            (Some(_), _) => {
                return Err(Error::invalid_input(
                    "an image takes an entry point or arguments, and both are set",
                )
                .with_hint("name the handler in one of them"));
            }
        };
        Ok(Some(Self {
            uri: image.reference.clone(),
            digest: image.digest().map(str::to_owned),
            command,
        }))
    }
}

#[cfg(test)]
mod tests {
    use falco_core::{ErrorKind, Image};

    use super::*;

    const URI: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/science";

    fn image_of(function: &Deployable) -> Result<Option<ImageCode>> {
        ImageCode::of(function, "eu-central-1")
    }

    #[test]
    fn an_entry_point_or_the_arguments_are_the_command() {
        let plain = Deployable::from_image("f", format!("{URI}:1"));
        assert_eq!(image_of(&plain).unwrap().unwrap().command, Vec::<String>::new());
        let handler = plain.with_entry_point("app.handler");
        assert_eq!(image_of(&handler).unwrap().unwrap().command, ["app.handler"]);
        let arguments = Image::new(format!("{URI}@sha256:01")).with_arguments(["a", "b"]);
        let function = Deployable::from_image("f", arguments);
        let image = image_of(&function).unwrap().unwrap();
        assert_eq!(
            (image.command.as_slice(), image.digest.as_deref()),
            (&["a".to_owned(), "b".into()][..], Some("sha256:01"))
        );
        assert!(image_of(&function.with_entry_point("app.handler")).is_err());
    }

    #[test]
    fn an_image_that_lambda_cannot_reach_is_refused_with_where_it_has_to_be() {
        for reference in [
            "python:3.12",
            "public.ecr.aws/lambda/python:3.12",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com/science:1",
        ] {
            let error = image_of(&Deployable::from_image("f", reference)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{reference}");
            assert!(error.to_string().contains(".dkr.ecr.eu-central-1."), "{error}");
        }
    }

    #[test]
    fn arguments_that_are_stored_with_an_image_are_refused() {
        let function = Deployable::from_image("f", format!("{URI}:1"));
        let function = function.with_arguments(falco_core::Payload::empty());
        let error = image_of(&function).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.hint().is_some_and(|hint| hint.contains("payload")), "{error}");
    }

    #[test]
    fn code_beside_an_image_is_refused_and_code_alone_is_not_an_image() {
        let code = Deployable::python("f", "def main(args): return args");
        assert_eq!(image_of(&code).unwrap(), None);
        let error = image_of(&code.with_image(format!("{URI}:1"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("from_image"), "{error}");
    }
}
