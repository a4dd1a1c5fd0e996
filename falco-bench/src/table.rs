//! The figures as a table for people and as JSON for tools.

use std::path::{Path, PathBuf};

use anyhow::Context;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};

use crate::figure::Figure;

/// The table that `cargo xtask bench` prints.
pub(crate) fn render(figures: &[Figure]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(["name", "measured", "floor", "ratio", "goal", ""]);
    for figure in figures {
        table.add_row([
            figure.name.clone(),
            format!("{} {}", number(figure.measured), figure.unit),
            figure.floor.map(number).unwrap_or_default(),
            figure.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            figure.goal.to_string(),
            if figure.is_reached() { String::new() } else { "missed".to_owned() },
        ]);
    }
    for column in 1..=3 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 1000.0 => format!("{value:.0}"),
        medium if medium >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// Where the figures of a benchmark are kept.
pub(crate) fn json_path(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    root.join(format!("{name}.json"))
}

/// Keeps the figures of a benchmark.
pub(crate) fn write_json(name: &str, figures: &[Figure]) -> anyhow::Result<()> {
    let path = json_path(name);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&path, serde_json::to_vec_pretty(figures)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Reads the figures that a benchmark has left.
pub(crate) fn read_json(path: &Path) -> anyhow::Result<Vec<Figure>> {
    let json = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(serde_json::from_slice(&json)?)
}
