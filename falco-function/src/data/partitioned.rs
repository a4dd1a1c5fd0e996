//! Partitions of bytes of the function's own.

use std::io::{self, Write};
use std::mem::take;

use super::body::{Runs, Written};
use super::error::DataError;
use super::http::Writable;
use super::output::Output;
use super::runs::{Piece, step};

/// An output whose partitions hold bytes of the function's own, such as records of a fixed length; see
/// [`Output::partitioned`].
#[derive(Debug)]
pub struct Partitioned {
    target: Writable,
    bound: u64,
    held: u64,
    partitions: Vec<Vec<u8>>,
    runs: Runs,
}

impl Output {
    /// Takes bytes of the function's own for each partition, instead of keys and values: they stay in the order in which they
    /// are written. Reducers read them by [`Groups::for_each_part`](super::Groups::for_each_part).
    ///
    /// # Errors
    ///
    /// For an object without partitions, and after the first `emit`.
    ///
    /// # Examples
    ///
    /// ```
    /// use falco_function::data::{DataError, Output, Written};
    ///
    /// fn numbers(out: Output) -> Result<Written, DataError> {
    ///     let mut out = out.partitioned()?;
    ///     for number in 0..1000_u64 {
    ///         out.write(number as usize % out.count(), &number.to_le_bytes())?;
    ///     }
    ///     out.close()
    /// }
    /// ```
    pub fn partitioned(self) -> Result<Partitioned, DataError> {
        let (target, bound, count) = self.unwritten("partitioned")?;
        let partitions = vec![Vec::new(); count];
        Ok(Partitioned { target, bound, held: 0, partitions, runs: Runs::default() })
    }
}

impl Partitioned {
    /// The number of partitions.
    #[must_use]
    pub fn count(&self) -> usize {
        self.partitions.len()
    }

    /// Adds bytes to the partition with this number, from 0.
    ///
    /// # Errors
    ///
    /// For a number that is not below [`count`](Self::count), and when the temporary folder is full.
    pub fn write(&mut self, partition: usize, bytes: &[u8]) -> Result<(), DataError> {
        let count = self.partitions.len();
        let Some(held) = self.partitions.get_mut(partition) else {
            return Err(DataError::wrong(format!(
                "there is no partition {partition}: use 0 to {}",
                count - 1
            )));
        };
        held.extend_from_slice(bytes);
        self.held += bytes.len() as u64;
        if self.held > self.bound {
            self.spill()?;
        }
        Ok(())
    }

    /// Moves what is in memory to a run on disk.
    fn spill(&mut self) -> Result<(), DataError> {
        let partitions = &mut self.partitions;
        self.runs.add(partitions.len(), |partition, to| drain(&mut partitions[partition], to))?;
        self.held = 0;
        Ok(())
    }

    /// Writes the object.
    ///
    /// # Errors
    ///
    /// As [`Output::close`].
    pub fn close(self) -> Result<Written, DataError> {
        let Self { target, bound, mut partitions, runs, .. } = self;
        let step = step(bound, runs.len());
        Written::send_partitions(&target, partitions.len(), |partition, to| {
            for piece in runs.pieces(partition, step) {
                copy(piece, to)?;
            }
            drain(&mut partitions[partition], to)
        })
    }
}

fn copy(piece: Piece<'_>, to: &mut dyn Write) -> Result<(), DataError> {
    let copied = io::copy(&mut piece.reader(false), to);
    copied.map(drop).map_err(|error| DataError::temporary(&error))
}

fn drain(bytes: &mut Vec<u8>, to: &mut dyn Write) -> Result<(), DataError> {
    to.write_all(&take(bytes)).map_err(|error| DataError::temporary(&error))
}
