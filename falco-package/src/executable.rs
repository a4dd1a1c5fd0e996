//! Files that are written so that they can be started at once.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Writes its input into a file that is not there yet, and that nobody else may change.
const WRITE: &str =
    r#"PATH="${PATH:+$PATH:}/usr/bin:/bin"; set -C; umask go-w; cat >"$0" && chmod +x -- "$0""#;

/// A new file that is being written: an executable by a process of its own.
///
/// While this process had an executable open for writing, another of its threads might fork. The child has it open, too, until
/// it has started its own program, and the executable cannot be started until then: "text file busy".
pub(crate) enum NewFile {
    Plain(fs::File),
    Executable(Writer),
}

impl NewFile {
    /// Makes a file that is not there yet.
    pub(crate) fn create_new(path: &Path, executable: bool) -> io::Result<Self> {
        if executable {
            return Writer::start(path).map(Self::Executable);
        }
        OpenOptions::new().write(true).create_new(true).mode(0o644).open(path).map(Self::Plain)
    }

    /// Waits until everything is written.
    pub(crate) fn finish(self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Executable(mut writer) => writer.end(),
        }
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Executable(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The process that writes an executable. Dropped, it is gone.
pub(crate) struct Writer(Child);

impl Writer {
    fn start(path: &Path) -> io::Result<Self> {
        if path.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", WRITE]).arg(path).env("LC_ALL", "C");
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        // Ctrl-C is for this process, which then cleans up.
        shell.process_group(0).spawn().map(Self)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(stdin) = &mut self.0.stdin else { return Ok(0) };
        match stdin.write(bytes) {
            // It knows why it has ended.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.end().and(Err(error)),
            written => written,
        }
    }

    /// Waits for its end, and returns what it says when it has failed.
    fn end(&mut self) -> io::Result<()> {
        drop(self.0.stdin.take());
        let mut said = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            stderr.read_to_string(&mut said)?;
        }
        let status = self.0.wait()?;
        match (status.success(), said.trim()) {
            (true, _) => Ok(()),
            (false, "") => Err(io::Error::other(status.to_string())),
            (false, said) => Err(io::Error::other(said.to_owned())),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Of a file that is given up, nobody wants to know.
        let _ = self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    use super::*;

    fn write(path: &Path, content: &[u8]) -> io::Result<()> {
        let mut file = NewFile::create_new(path, true)?;
        file.write_all(content)?;
        file.finish()
    }

    #[test]
    fn executables_start_while_other_threads_fork() {
        let script = "#!/bin/sh\nexit 7\n".to_owned() + &"#".repeat(1 << 20);
        let folder = tempfile::tempdir().unwrap();
        let own = fs::metadata(&folder).unwrap().uid();
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !ended.load(SeqCst) {
                        // With a user, a process is forked, which takes longer to start its program than a spawned one.
                        Command::new("/bin/true").uid(own).status().unwrap();
                    }
                });
            }
            let statuses: Vec<_> = (0..100)
                .map(|number| {
                    let path = folder.path().join(number.to_string());
                    write(&path, script.as_bytes()).unwrap();
                    Command::new(path).status().map(|status| status.code())
                })
                .collect();
            ended.store(true, SeqCst);
            for status in statuses {
                assert_eq!(status.unwrap(), Some(7));
            }
        });
    }

    #[test]
    fn a_file_that_is_there_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("-a file");
        write(&path, b"one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o111, 0o111);
        let error = write(&path, b"two").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
    }

    #[test]
    fn a_file_that_cannot_be_written_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing/exec");
        let error = write(&path, &vec![0; 1 << 20]).unwrap_err().to_string();
        assert!(error.contains("missing/exec"), "{error}");
    }
}
