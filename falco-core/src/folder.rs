//! A folder of this machine that a function works on.

/// A folder of this machine that a function reads, or writes to, under the path that it has here.
///
/// A platform that runs functions away from this machine's files, but on this machine, shows them the folder: `falco-docker`
/// mounts it. On others it changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Folder {
    /// The absolute path.
    pub path: String,
    /// Whether the function may write to it.
    pub writable: bool,
}

impl Folder {
    /// A folder that the function reads.
    pub fn read_only(path: impl Into<String>) -> Self {
        Self { path: path.into(), writable: false }
    }

    /// A folder that the function reads and writes to.
    pub fn writable(path: impl Into<String>) -> Self {
        Self { path: path.into(), writable: true }
    }
}
