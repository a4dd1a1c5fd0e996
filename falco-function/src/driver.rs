//! The driver's half: the program as an archive, typed functions of it, and a platform inside the process.

mod build;
mod executable;
mod in_process;

pub use build::Build;
pub use executable::Executable;
pub use in_process::InProcess;
