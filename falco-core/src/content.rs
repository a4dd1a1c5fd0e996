//! The content of a function as bytes, to be hashed: what two deployments have to have in common to be the same.

use std::time::Duration;

use crate::code::Code;
use crate::deployable::Deployable;

impl Deployable {
    /// Hands its content to `add`, in pieces that no two different contents share: runtime, entry point, code, image, folders,
    /// code version, sizes, arguments, and the names of the environment variables.
    ///
    /// An image counts by its reference, so an image that changes behind a tag is named by its digest.
    ///
    /// For platforms and executors that hash it, to find out whether the same is deployed already. The name and the owner
    /// are not part of it, and neither are the values of the environment: a reader of the hash could try out values.
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_core::Deployable;
    ///
    /// let content = |function: &Deployable| {
    ///     let mut bytes = Vec::new();
    ///     function.content(&mut |piece| bytes.extend_from_slice(piece));
    ///     bytes
    /// };
    /// let one = Deployable::python("one", "def main(args): return args").with_env("KEY", "marked-secret");
    /// assert_eq!(content(&one), content(&one.clone().with_name("two").with_env("KEY", "another")));
    /// assert_ne!(content(&one), content(&one.clone().with_entry_point("start")));
    /// ```
    pub fn content(&self, add: &mut dyn FnMut(&[u8])) {
        let mut piece = |piece: &[u8]| {
            // With its length, so that no two lists of pieces give the same bytes.
            add(&(piece.len() as u64).to_le_bytes());
            add(piece);
        };
        piece(self.runtime.to_string().as_bytes());
        piece(self.entry_point_or_main().as_bytes());
        piece(&[u8::from(self.entry_point.is_some()), u8::from(self.is_plain)]);
        match &self.code {
            Code::Source(source) => {
                piece(b"source");
                piece(source.as_bytes());
            }
            Code::Archive(archive) => {
                piece(b"archive");
                piece(archive);
            }
            Code::Image(_) => piece(b"image"),
        }
        if let Some(image) = self.any_image() {
            piece(image.reference.as_bytes());
            piece(format!("{:?}", image.arguments).as_bytes());
        }
        for folder in &self.folders {
            piece(folder.path.as_bytes());
            piece(&[u8::from(folder.writable)]);
        }
        let optional = |text: Option<&str>| text.map_or("-".to_owned(), |text| format!("+{text}"));
        piece(optional(self.code_version.as_deref()).as_bytes());
        piece(optional(self.arguments.as_ref().map(|arguments| arguments.as_str())).as_bytes());
        let scaling = &self.scaling;
        let timeout = scaling.timeout.as_ref().map(Duration::as_nanos);
        let sizes = (scaling.memory_mib, scaling.cpus, timeout);
        let instances = (scaling.min_instances, scaling.max_instances, scaling.concurrency);
        piece(format!("{sizes:?} {instances:?}").as_bytes());
        for name in self.env.names() {
            piece(name.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Deployable, Payload, RuntimeName, Scaling};

    fn content(function: &Deployable) -> Vec<u8> {
        let mut bytes = Vec::new();
        function.content(&mut |piece| bytes.extend_from_slice(piece));
        bytes
    }

    #[test]
    fn each_part_of_a_function_changes_its_content_and_no_secret_is_in_it() {
        let same = Deployable::python("f", "x").with_env("KEY", "marked-secret");
        let mut other_runtime = same.clone();
        other_runtime.runtime = RuntimeName::nodejs();
        let mut seen = vec![content(&same)];
        for other in [
            other_runtime,
            Deployable::python("f", "y").with_env("KEY", "marked-secret"),
            Deployable::from_archive("f", RuntimeName::python(), "x").with_env("KEY", "1"),
            same.clone().with_entry_point("main"),
            same.clone().with_image("science:1"),
            same.clone().with_image("science:2"),
            Deployable::from_image("f", "science:1"),
            same.clone().with_code_version("2"),
            same.clone().with_scaling(Scaling::default().with_memory_mib(128)),
            same.clone().with_scaling(Scaling::default().with_max_instances(128)),
            same.clone().with_arguments(Payload::empty()),
            same.clone().with_env("OTHER", ""),
            same.clone().plain(),
        ] {
            let bytes = content(&other);
            assert!(!seen.contains(&bytes), "{other:?}");
            assert!(!String::from_utf8_lossy(&bytes).contains("marked-secret"));
            seen.push(bytes);
        }
    }

    #[test]
    fn arguments_that_are_not_an_object_are_refused_with_the_functions_name() {
        let function = Deployable::python("f", "x").with_arguments(Payload::json(&[1, 2]).unwrap());
        let error = function.validate().unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("[1,2]") && error.to_string().contains('f'), "{error}");
    }
}
