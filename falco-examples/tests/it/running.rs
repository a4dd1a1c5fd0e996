//! A program that runs beside its test, which reads its standard error and sends it signals.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};

use crate::program::Printed;

/// A program that has been started.
pub(crate) struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
    said: String,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stderr, said: String::new() }
    }

    /// Waits until the program has written `words` to its standard error.
    pub(crate) fn read_until(&mut self, words: &str) {
        while !self.said.contains(words) {
            let read = self.stderr.read_line(&mut self.said).unwrap();
            assert!(read > 0, "it ended without {words:?}: {}", self.said);
        }
    }

    pub(crate) fn send(&self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Waits for its end; the standard error is all of it, from the start.
    pub(crate) fn end(mut self) -> Printed {
        self.stderr.read_to_string(&mut self.said).unwrap();
        let ended = Printed::of(self.child.wait_with_output().unwrap());
        Printed { stderr: self.said, ..ended }
    }
}
