//! Calls by when they were sent and how long they took.

use crate::units::Micros;

/// Columns of a heat map, along the time of the run.
pub const HEAT_COLUMNS: usize = 240;
/// Rows of a heat map, along the logarithm of the duration.
pub const HEAT_ROWS: usize = 64;

/// The shortest duration that has a row of its own.
const SHORTEST: f64 = 100.0;
/// Rows for each doubling of the duration: 64 rows reach from 0.1 ms to an hour and a half.
const ROWS_PER_DOUBLING: f64 = 2.5;
/// The first width of a column.
const FIRST_WIDTH: i64 = 10_000;

/// The kinds that a heat map distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Calls that succeeded on a warm instance, or one of which that is not known.
    Warm,
    /// Calls that succeeded, and for which an instance was started.
    Cold,
    /// Calls that failed.
    Failed,
}

/// Calls by when they were sent (columns) and how long they took (rows), in constant memory: columns are merged in pairs
/// when the run gets longer.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatMap {
    width: i64,
    cells: [Vec<u32>; 3],
}

impl Default for HeatMap {
    fn default() -> Self {
        Self { width: FIRST_WIDTH, cells: Default::default() }
    }
}

impl HeatMap {
    /// The length of time that a column covers.
    pub fn column_width(&self) -> Micros {
        Micros(self.width)
    }

    /// The lower end of a row.
    pub fn row_start(row: usize) -> Micros {
        Micros((SHORTEST * (row as f64 / ROWS_PER_DOUBLING).exp2()).round() as i64)
    }

    /// The counts of a class, row after row from the shortest duration, each with 240 columns; empty if there are none.
    pub fn cells(&self, class: Class) -> &[u32] {
        &self.cells[class as usize]
    }

    /// All calls of a class.
    pub fn count(&self, class: Class) -> u64 {
        self.cells(class).iter().map(|count| u64::from(*count)).sum()
    }

    /// Adds a call.
    pub fn record(&mut self, sent: Micros, took: Micros, class: Class) {
        let at = sent.0.max(0);
        while at / self.width >= HEAT_COLUMNS as i64 {
            self.merge();
        }
        let column = (at / self.width) as usize;
        let doublings = (took.0.max(1) as f64 / SHORTEST).log2();
        let row = ((doublings * ROWS_PER_DOUBLING).floor().max(0.0) as usize).min(HEAT_ROWS - 1);
        let cells = &mut self.cells[class as usize];
        cells.resize(HEAT_COLUMNS * HEAT_ROWS, 0);
        let cell = &mut cells[row * HEAT_COLUMNS + column];
        *cell = cell.saturating_add(1);
    }

    fn merge(&mut self) {
        self.width = self.width.saturating_mul(2);
        for row in self.cells.iter_mut().flat_map(|cells| cells.chunks_exact_mut(HEAT_COLUMNS)) {
            for column in 0..HEAT_COLUMNS / 2 {
                row[column] = row[column * 2].saturating_add(row[column * 2 + 1]);
            }
            row[HEAT_COLUMNS / 2..].fill(0);
        }
    }
}
