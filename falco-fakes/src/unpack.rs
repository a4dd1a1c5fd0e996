//! The files of a deployment, on the disk.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use falco_package::Archive;

/// Writes the files of an archive into a directory, which is made.
///
/// Executables are written by a process of their own. While this process has a file open for writing, another of its threads may
/// fork; the child has the file open, too, until it has started its program, and the file cannot be started until then: "text
/// file busy".
pub(crate) fn unpack(archive: &Archive, directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for (path, file) in archive.files() {
        let path = directory.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        match file.executable {
            true => write_executable(&path, &file.content)?,
            false => std::fs::write(&path, &file.content)?,
        }
    }
    Ok(())
}

fn write_executable(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut writer = Command::new("/bin/sh")
        .args(["-c", r#"cat >"$0" && chmod 755 "$0""#])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()?;
    let written = writer.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(content));
    let status = writer.wait()?;
    match status.success() {
        true => written,
        false => Err(io::Error::other(format!("{} cannot be written: {status}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    use super::*;

    #[test]
    fn executables_start_while_other_threads_fork() {
        let script = "#!/bin/sh\nexit 7\n".to_owned() + &"#".repeat(1 << 20);
        let archive = Archive::new().with_executable("exec", script).unwrap();
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !ended.load(SeqCst) {
                        Command::new("/bin/true").status().unwrap();
                    }
                });
            }
            let statuses: Vec<_> = (0..150)
                .map(|_| {
                    let directory = tempfile::tempdir().unwrap();
                    unpack(&archive, directory.path()).unwrap();
                    let status = Command::new(directory.path().join("exec")).status();
                    status.map(|status| status.code())
                })
                .collect();
            ended.store(true, SeqCst);
            for status in statuses {
                assert_eq!(status.unwrap(), Some(7));
            }
        });
    }
}
