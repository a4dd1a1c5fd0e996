//! The process that ends the workers when the driver cannot.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::process::Pid;

const SCRIPT: &str = include_str!("shims/guardian.sh");

/// A shell that reads a pipe whose only writer is this process, and kills the process groups that it was given
/// when the pipe ends: on SIGKILL of the driver, too. It also removes the workers' temporary directories then.
#[derive(Debug, Default)]
pub(crate) struct Guardian(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    groups: BTreeSet<i32>,
    shell: Option<(Child, ChildStdin)>,
}

impl Guardian {
    /// Puts a process group under guard. Until it returns, nothing that may run for long must run in the group.
    ///
    /// `scratch` holds the temporary directories of all workers, always the same.
    pub(crate) fn guard(&self, group: Pid, scratch: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.groups.insert(group.as_raw_pid());
        state.tell('+', group, Some(scratch))
    }

    /// Forgets a process group. It has to be called before its leader is waited for: after that, the number may be
    /// another's.
    pub(crate) fn forget(&self, group: Pid) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.groups.remove(&group.as_raw_pid());
        if let Err(error) = state.tell('-', group, None) {
            tracing::warn!(%error, "the guardian of the workers cannot be reached");
        }
    }
}

impl State {
    fn tell(&mut self, change: char, group: Pid, scratch: Option<&Path>) -> io::Result<()> {
        let line = format!("{change} {}\n", group.as_raw_pid());
        if let Some((_, pipe)) = &mut self.shell {
            if pipe.write_all(line.as_bytes()).is_ok() {
                return Ok(());
            }
            // Somebody ended the guardian; the next one learns of every group.
            self.end_shell();
        }
        if self.groups.is_empty() {
            return Ok(());
        }
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "falco-guardian"])
            .args(scratch)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C goes to the terminal's foreground group; the guardian has to outlive it.
            .process_group(0)
            .spawn()?;
        let mut pipe = shell.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        for group in &self.groups {
            writeln!(pipe, "+ {group}")?;
        }
        self.shell = Some((shell, pipe));
        Ok(())
    }

    fn end_shell(&mut self) {
        if let Some((mut shell, pipe)) = self.shell.take() {
            drop(pipe);
            if let Err(error) = shell.wait() {
                tracing::warn!(%error, "the guardian of the workers cannot be waited for");
            }
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.end_shell();
    }
}
