//! Spans for collectors of OpenTelemetry, over OTLP/HTTP.

mod exporter;
mod span;

pub use self::exporter::OtlpExporter;
