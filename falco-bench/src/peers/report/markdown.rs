//! The report as Markdown.

use super::{Cell, Kind, Report, Row};

/// Notes under the table: the reasons of cells without a figure.
#[derive(Debug, Default)]
struct Notes(Vec<String>);

impl Notes {
    /// The reference to a note, which is added unless it is there.
    fn refer(&mut self, note: String) -> String {
        let known = self.0.iter().position(|other| *other == note);
        let index = known.unwrap_or_else(|| {
            self.0.push(note);
            self.0.len() - 1
        });
        format!("({})", index + 1)
    }
}

impl Report {
    /// The tables, the notes, and what they are about.
    pub(in super::super) fn markdown(&self) -> String {
        let mut notes = Notes::default();
        let mut lines = vec![self.machine.sentence(), String::new()];
        lines.push(line(
            std::iter::once(String::new())
                .chain(self.contenders.iter().map(|(_, version)| version.clone())),
        ));
        lines.push(format!("|---|{}", "---:|".repeat(self.contenders.len())));
        for row in &self.rows {
            match row.kind {
                Kind::Failures => lines.extend(self.failures(row, &mut notes)),
                Kind::Rate => {
                    lines.push(self.line(row, "calls/s", &mut notes, |_, value| number(value)))
                }
                Kind::Time | Kind::Cold => {
                    lines.push(self.line(row, "s", &mut notes, |_, value| number(value)))
                }
            }
        }
        for row in self.rows.iter().filter(|row| matches!(row.kind, Kind::Rate | Kind::Time)) {
            lines.push(
                self.column(row, &format!("peak memory, {}, MB", row.name), |cell| cell.peak()),
            );
        }
        for row in self.rows.iter().filter(|row| ["noop", "sleep"].contains(&row.name)) {
            lines.push(self.column(
                row,
                &format!("until the pool of {} is warm, s", row.name),
                Cell::ready,
            ));
        }
        lines.push(String::new());
        lines.extend(
            notes.0.iter().enumerate().map(|(index, note)| format!("({}) {note}  ", index + 1)),
        );
        lines.join("\n") + "\n" + &self.goals()
    }

    /// One row of the table.
    fn line(
        &self,
        row: &Row,
        unit: &str,
        notes: &mut Notes,
        show: impl Fn(&Cell, f64) -> String,
    ) -> String {
        let cells = self.contenders.iter().map(|(name, version)| {
            let Some(cell) = row.cells.get(name) else { return "not run".to_owned() };
            match (&cell.error, row.value(name)) {
                (Some(error), _) => format!("– {}", notes.refer(format!("{version}: {error}"))),
                (None, Some(value)) if cell.share > 1 => {
                    let note = format!(
                        "{version}: one of {} calls was made, and the time multiplied",
                        cell.share
                    );
                    format!("{} {}", show(cell, value), notes.refer(note))
                }
                (None, Some(value)) => show(cell, value),
                (None, None) => "–".to_owned(),
            }
        });
        line(std::iter::once(format!("{}, {unit}", row.title)).chain(cells))
    }

    fn column(&self, row: &Row, title: &str, value: impl Fn(&Cell) -> Option<f64>) -> String {
        let cell =
            |name: &str| row.cells.get(name).and_then(&value).map_or_else(|| "–".into(), number);
        let cells = self.contenders.iter().map(|(name, _)| cell(name));
        line(std::iter::once(title.to_owned()).chain(cells))
    }

    /// Three rows: results by map, results one by one, and whether the input is named.
    fn failures(&self, row: &Row, notes: &mut Notes) -> Vec<String> {
        let show = |title: &str, text: &dyn Fn(&Cell) -> String| {
            let cell = |name: &str| row.cells.get(name).map_or_else(|| "not run".into(), text);
            let cells = self.contenders.iter().map(|(name, _)| cell(name));
            line(std::iter::once(format!("{}: {title}", row.title)).chain(cells))
        };
        let errors = self.contenders.iter().filter_map(|(name, version)| {
            Some(format!("{version}, failures: {}", row.cells.get(name)?.error.as_ref()?))
        });
        for error in errors {
            notes.refer(error);
        }
        let of = |cell: &Cell, results: u64| {
            format!("{results} of {}", (row.calls as u64 / cell.share.max(1)).max(2))
        };
        let failures = |cell: &Cell, text: &dyn Fn(&super::Failures) -> String| {
            cell.failures.as_ref().map_or_else(|| "–".to_owned(), text)
        };
        vec![
            show("results of map", &|cell| failures(cell, &|it| of(cell, it.map))),
            show("results one by one", &|cell| {
                failures(cell, &|it| {
                    it.each.map_or_else(|| "no such call".into(), |each| of(cell, each))
                })
            }),
            show("the failing input is named", &|cell| {
                failures(cell, &|it| {
                    let named = match (it.named, it.logged) {
                        (true, _) => "by the error",
                        (false, true) => "in the log",
                        (false, false) => "no",
                    };
                    named.to_owned()
                })
            }),
        ]
    }

    fn goals(&self) -> String {
        let Ok(figures) = self.figures() else { return String::new() };
        let mut lines = vec![String::new(), line(["", "Falco", "the other", "ratio", "goal", ""])];
        lines.push("|---|---:|---:|---:|---:|---|".to_owned());
        for figure in figures {
            lines.push(line([
                figure.name.trim_start_matches("peers: ").to_owned(),
                format!("{} {}", number(figure.measured), figure.unit),
                figure.floor.map(number).unwrap_or_default(),
                figure.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
                figure.goal.to_string(),
                if figure.is_reached() { "reached" } else { "missed" }.to_owned(),
            ]));
        }
        lines.join("\n") + "\n"
    }
}

fn line<T: AsRef<str>>(cells: impl IntoIterator<Item = T>) -> String {
    // A bar within a cell, as in an error, would end it.
    let cells: Vec<String> = cells
        .into_iter()
        .map(|cell| cell.as_ref().replace('|', "\\|").replace('\n', " "))
        .collect();
    format!("| {} |", cells.join(" | "))
}

fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        medium if medium >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
