//! Starts the process of a worker: an executable by `posix_spawn`, which takes the same time however large the driver is.
//!
//! `Command` forks when a process is given other descriptors than 0 to 2. A fork copies the driver's page tables: that took
//! 8 ms of a cold start of 13 ms in a driver with large results. Interpreters are started so nevertheless: they need a directory
//! to start in, which takes `Command` or a shell, and a shell drops variables whose names it cannot hold.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use command_fds::{CommandFdExt, FdMapping};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, waitpid};

/// Where a worker reads its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requests {
    /// On stdin, as OpenWhisk's ActionLoop has it.
    Stdin,
    /// On descriptor 4; stdin is empty.
    Descriptor4,
}

/// The descriptors from here on are none that a process is given.
const BEYOND: RawFd = 10;

/// The descriptor on which a worker answers.
const RESULTS: i32 = 3;

/// The descriptor on which a fork server takes orders.
const CONTROL: i32 = 5;

/// Whether no process can be started at the moment, of whatever program: files, processes or memory are used up.
pub(crate) fn has_no_room(error: &io::Error) -> bool {
    const NO_ROOM: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| NO_ROOM.contains(&errno))
}

/// The worker's ends of its pipes.
pub(crate) struct Ends {
    pub(crate) requests: OwnedFd,
    pub(crate) results: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    /// The socket on which a fork server takes orders.
    pub(crate) control: Option<OwnedFd>,
}

impl Ends {
    /// Starts a process in a group of its own, with these ends and no other descriptors.
    pub(crate) fn start(self, mut command: Command, read_at: Requests) -> io::Result<Pid> {
        let Self { requests, results, stdout, stderr, control } = self;
        match read_at {
            Requests::Stdin => {
                spawn(&command, vec![(requests, 0), (stdout, 1), (stderr, 2), (results, RESULTS)])
            }
            Requests::Descriptor4 => {
                let mapping = |parent_fd, child_fd| FdMapping { parent_fd, child_fd };
                command.stdin(File::open("/dev/null")?).stdout(stdout).stderr(stderr);
                let mut mappings = vec![mapping(results, RESULTS), mapping(requests, 4)];
                mappings.extend(control.map(|control| mapping(control, CONTROL)));
                command.fd_mappings(mappings).map_err(io::Error::other)?;
                // It is waited for by its number, as the others are.
                let child = command.process_group(0).spawn()?;
                Ok(Pid::from_child(&child))
            }
        }
    }
}

/// Waits for the end of a process, and returns its exit status as shells report it: negative for a signal.
pub(crate) fn wait_for(process: Pid) -> io::Result<i32> {
    loop {
        match waitpid(Some(process), WaitOptions::empty()) {
            Ok(Some((_, status))) => {
                let signal = || -status.terminating_signal().unwrap_or_default();
                return Ok(status.exit_status().unwrap_or_else(signal));
            }
            Ok(None) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Starts `command` in a process group of its own, and closes the descriptors in this process. The number beside each
/// descriptor is the one that it has in the new process, below 10. Of the command count program, arguments and the variables
/// that it sets itself: the new process has no others, and starts in the directory of this process.
fn spawn(command: &Command, descriptors: Vec<(OwnedFd, RawFd)>) -> io::Result<Pid> {
    // Out of the way of the numbers that are given out.
    let descriptors = descriptors
        .into_iter()
        .map(|(descriptor, number)| {
            Ok((rustix::io::fcntl_dupfd_cloexec(descriptor, BEYOND)?, number))
        })
        .collect::<io::Result<Vec<_>>>()?;
    let mut actions = PosixSpawnFileActions::init()?;
    for (descriptor, number) in &descriptors {
        actions.add_dup2(descriptor.as_raw_fd(), *number)?;
    }
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(
        PosixSpawnFlags::POSIX_SPAWN_SETPGROUP
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK,
    )?;
    attributes.set_pgroup(nix::unistd::Pid::from_raw(0))?;
    // As `Command` does: Rust programs ignore this signal, and no other program expects that.
    attributes.set_sigdefault(&SigSet::from(Signal::SIGPIPE))?;
    attributes.set_sigmask(&SigSet::empty())?;

    let program = text(command.get_program())?;
    let mut arguments = vec![program.clone()];
    for argument in command.get_args() {
        arguments.push(text(argument)?);
    }
    let set = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let variables = set
        .map(|(name, value)| bytes(&[name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect::<io::Result<Vec<_>>>()?;
    let pid = posix_spawn(program.as_c_str(), &actions, &attributes, &arguments, &variables)?;
    Pid::from_raw(pid.as_raw()).ok_or_else(|| io::Error::other("a process without a number"))
}

fn text(text: &OsStr) -> io::Result<CString> {
    bytes(text.as_bytes())
}

fn bytes(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Read;

    use rustix::process::getpgid;

    use super::*;

    #[test]
    fn used_up_descriptors_and_processes_are_told_from_a_program_that_is_not_there() {
        let has_no_room = |errno: Errno| has_no_room(&errno.into());
        assert!(
            [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM].map(has_no_room) == [true; 4]
        );
        assert!(!has_no_room(Errno::NOENT) && !has_no_room(Errno::ACCESS));
    }

    /// The descriptors of a process that std starts: 0 to 2, and what these tests were given themselves, such as by a terminal.
    fn of_any_process() -> BTreeSet<String> {
        let listed = Command::new("/bin/sh").args(["-c", "ls /proc/$$/fd"]).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        listed.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_process_has_the_descriptors_and_variables_that_it_is_given_and_no_others() {
        let (mut answers, theirs) = io::pipe().unwrap();
        let (input, requests) = io::pipe().unwrap();
        let theirs: OwnedFd = theirs.into();
        // Not in braces with a redirection, of which the shell would keep a copy.
        let script = "exec >&3; read -r line; echo \"$line $A\"; grep SigIgn /proc/$$/status; ls /proc/$$/fd";
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).env("A", "a b");
        let null: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        let descriptors =
            vec![(input.into(), 0), (null.try_clone().unwrap(), 1), (null, 2), (theirs, 3)];
        let process = spawn(&command, descriptors).unwrap();
        assert_eq!(getpgid(Some(process)).unwrap(), process, "it leads a group");
        std::io::Write::write_all(&mut &requests, b"line\n").unwrap();
        let mut said = String::new();
        answers.read_to_string(&mut said).unwrap();
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines[0], "line a b");
        let ignored = lines[1].rsplit('\t').next().unwrap();
        let ignored = u64::from_str_radix(ignored, 16).unwrap();
        assert_eq!(ignored >> (Signal::SIGPIPE as u32 - 1) & 1, 0, "Rust programs ignore it");
        let mut expected = of_any_process();
        expected.insert("3".into());
        let found: BTreeSet<_> = lines[2..].iter().map(|line| line.to_string()).collect();
        assert_eq!(found, expected, "{said}");
        let (_, status) = waitpid(Some(process), WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0));
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_and_not_a_process() {
        let error = spawn(&Command::new("/no/such/program"), Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
