//! FACT, the trace format for FaaS of TU Berlin: as protobuf over TCP, as CSV, and as lines of a console.

mod console;
mod csv;
mod tcp;
mod trace;

pub use self::console::FactConsole;
pub use self::csv::FactCsv;
pub use self::tcp::FactCollector;
