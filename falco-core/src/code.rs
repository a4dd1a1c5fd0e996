//! The code of a function.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::image::Image;

/// The code of a function. `Debug` shows its size only.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Code {
    /// Source text of one module.
    Source(Arc<str>),
    /// A zip archive.
    Archive(Bytes),
    /// A container image that is the function; see [`Deployable::from_image`](crate::Deployable::from_image).
    Image(Image),
}

impl Code {
    /// The size in bytes; of an image, the size of its reference.
    pub fn len(&self) -> usize {
        match self {
            Self::Source(source) => source.len(),
            Self::Archive(archive) => archive.len(),
            Self::Image(image) => image.reference.len(),
        }
    }

    /// Whether there is no code at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn is_blank(&self) -> bool {
        match self {
            Self::Source(source) => source.trim().is_empty(),
            Self::Archive(archive) => archive.is_empty(),
            Self::Image(image) => image.reference.trim().is_empty(),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Source(_) => "Source",
            Self::Archive(_) => "Archive",
            Self::Image(image) => return write!(f, "Image({image})"),
        };
        write!(f, "{kind}({} bytes)", self.len())
    }
}
