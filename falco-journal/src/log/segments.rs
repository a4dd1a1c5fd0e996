//! Where one segment of the log ends and the next one begins.

use std::path::Path;
use std::sync::Arc;

use falco_core::{Error, ErrorKind, Result};

use super::{Log, Tail};
use crate::clock::now;
use crate::disk::{Appender, Disk};
use crate::machine::host;
use crate::record::{Header, VERSION, kind};
use crate::segment;

impl Log {
    /// Closes the segment, and begins the next one.
    pub(super) fn rotate(&self, tail: &mut Tail) -> Result<()> {
        if let Some(error) = &tail.failure {
            return Err(error.clone());
        }
        self.write_out(tail)?;
        // The header of the next segment says that this one is on disk.
        let beside = std::mem::take(&mut tail.beside);
        if let Err(error) = self.sync_beside(beside).and_then(|()| tail.file.sync()) {
            return Err(self.fail(tail, "cannot be synced", &error));
        }
        let next = tail.number + 1;
        let file = match create(&*self.disk, &self.begin.directory, next) {
            Ok(file) => file,
            Err(error) => return Err(self.poison_tail(tail, error)),
        };
        tail.after.push((tail.number, tail.length));
        (tail.file, tail.number, tail.length) = (Arc::from(file), next, 0);
        self.write_header(tail)
    }

    pub(super) fn write_header(&self, tail: &mut Tail) -> Result<()> {
        let header = Header {
            v: VERSION,
            run: self.begin.run.clone(),
            epoch: self.begin.first,
            name: self.begin.name.clone(),
            at: now(),
            base: self.base,
            command: self.begin.command.clone().filter(|_| tail.number == self.begin.first),
            host: host(),
            after: tail.after.clone(),
            lost: self.begin.lost.clone(),
        };
        self.write(tail, kind::HEADER, &header).map(drop)
    }
}

/// Creates a segment; its number is the fence that keeps a second process out.
pub(super) fn create(disk: &dyn Disk, directory: &Path, number: u32) -> Result<Box<dyn Appender>> {
    let path = directory.join(segment::name(number));
    let created = disk.create(&path).and_then(|file| {
        disk.sync_directory(directory)?;
        Ok(file)
    });
    created.map_err(|error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            let message =
                format!("another process works on this run: it has created {}", path.display());
            return Error::new(ErrorKind::Conflict, message);
        }
        let message = format!("the journal {} cannot be created", path.display());
        Error::new(ErrorKind::Other, message).with_source(&error)
    })
}
