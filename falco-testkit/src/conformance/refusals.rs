//! Functions that no platform takes, or not this one.

use falco_core::{Deployable, ErrorKind};

use super::harness::{Skip, Verdict};
use super::subject::{Subject, refused_as, served};

pub(super) async fn what_is_no_function_is_refused(subject: &Subject) -> Verdict {
    let function = subject.function()?;
    let bad_name = function.clone().with_name("no/function name");
    let deployed = subject.platform.deploy(&bad_name).await;
    let error = refused_as("a bad name", deployed, &[ErrorKind::InvalidInput]);
    subject.says_where(&error, "deploy", &bad_name.name);
    let blank = Deployable::from_source(&function.name, function.runtime.clone(), " \n");
    let deployed = subject.platform.deploy(&blank).await;
    let error = refused_as("empty code", deployed, &[ErrorKind::InvalidInput]);
    subject.says_where(&error, "deploy", &function.name);
    Ok(())
}

pub(super) async fn an_unknown_runtime_is_unsupported(subject: &Subject) -> Verdict {
    let runtime = served("parsing", "cobol:85".parse());
    let function = Deployable::from_source(subject.name(), runtime, "IDENTIFICATION DIVISION.");
    let deployed = subject.platform.deploy(&function).await;
    let error = refused_as("an unknown runtime", deployed, &[ErrorKind::Unsupported]);
    subject.says_where(&error, "deploy", &function.name);
    let families = subject.capabilities.runtimes.iter().map(|r| r.split(':').next().unwrap_or(r));
    let shown = error.to_string();
    for family in families {
        assert!(shown.contains(family), "it has to list {family}: {shown}");
    }
    Ok(())
}

pub(super) async fn an_image_is_refused_where_none_is_run(subject: &Subject) -> Verdict {
    if subject.capabilities.images {
        return Err(Skip::new("the platform runs images"));
    }
    const IMAGE: &str = "registry.example.org/conformance:1";
    let function = subject.function()?;
    let is_one = Deployable::from_image(&function.name, IMAGE);
    for function in [function.with_image(IMAGE), is_one] {
        let deployed = subject.platform.deploy(&function).await;
        let error = refused_as("an image", deployed, &[ErrorKind::Unsupported]);
        assert!(error.to_string().contains(IMAGE), "it has to name the image: {error}");
        assert!(error.hint().is_some(), "it has to say what to do: {error}");
        subject.says_where(&error, "deploy", &function.name);
    }
    Ok(())
}
