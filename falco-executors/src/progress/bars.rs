//! Progress as bars on a terminal.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::stage::{Phase, StageProgress};
use crate::report::duration;

/// How often elapsed time is drawn although nothing happens.
const TICK: Duration = Duration::from_millis(250);

/// How often a stage is drawn while it runs: writing the numbers out takes longer than counting them.
const REDRAW: Duration = Duration::from_millis(100);

const SIZED: &str = "{prefix:>14} [{bar:30}] {pos}/{len} {msg}";
const UNSIZED: &str = "{prefix:>14} {spinner} {pos} {msg}";

pub(super) struct Bars {
    all: MultiProgress,
    /// By the stage's place; none before it starts.
    bars: Vec<Option<Bar>>,
}

struct Bar {
    bar: ProgressBar,
    is_sized: bool,
}

impl Bars {
    pub(super) fn new(target: ProgressDrawTarget) -> Self {
        Self { all: MultiProgress::with_draw_target(target), bars: Vec::new() }
    }

    pub(super) fn show(&mut self, at: usize, stage: &mut StageProgress) {
        let is_due = match stage.phase {
            Phase::Waiting => false,
            Phase::Running => stage.is_due(REDRAW),
            Phase::Succeeded | Phase::Failed(_) => true,
        };
        if !is_due {
            return;
        }
        if self.bars.len() <= at {
            self.bars.resize_with(at + 1, || None);
        }
        let all = &self.all;
        let bar = self.bars[at].get_or_insert_with(|| Bar::new(all, stage));
        bar.show(stage);
        if matches!(stage.phase, Phase::Succeeded | Phase::Failed(_)) {
            // A plan that is executed again gets new bars.
            self.bars[at] = None;
        }
    }

    pub(super) fn note(&self, line: &str) {
        // A closed stderr must not end the run.
        let _ = self.all.println(line);
    }
}

impl Bar {
    fn new(all: &MultiProgress, stage: &StageProgress) -> Self {
        let bar = all.add(ProgressBar::new_spinner().with_prefix(stage.name.to_string()));
        bar.set_style(style(UNSIZED));
        bar.enable_steady_tick(TICK);
        Self { bar, is_sized: false }
    }

    fn show(&mut self, stage: &StageProgress) {
        if let Some(total) = stage.total() {
            if !self.is_sized {
                self.is_sized = true;
                self.bar.set_style(style(SIZED));
            }
            self.bar.set_length(total);
        }
        self.bar.set_position(stage.done);
        match &stage.phase {
            Phase::Waiting | Phase::Running => self.bar.set_message(stage.details()),
            Phase::Succeeded => {
                self.bar.finish_with_message(format!("in {}", duration(stage.elapsed())));
            }
            Phase::Failed(reason) => self.bar.abandon_with_message(reason.clone()),
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // Both templates are tested; a wrong one falls back to indicatif's own.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;

    /// A terminal that keeps everything that was ever written.
    #[derive(Clone, Debug, Default)]
    struct Paper(Arc<Mutex<String>>);

    impl Paper {
        fn text(&self) -> String {
            self.0.lock().unwrap().clone()
        }
    }

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            120
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(&format!("{text}\n"))
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_bar_shows_its_stage_until_the_end() {
        let paper = Paper::default();
        let mut bars = Bars::new(ProgressDrawTarget::term_like(Box::new(paper.clone())));
        let mut stage = StageProgress::new("map".into());
        bars.show(0, &mut stage);
        assert_eq!(paper.text(), "", "a stage that waits has no bar");
        stage.sized(4);
        stage.start();
        stage.done = 4;
        stage.finish(None);
        bars.show(0, &mut stage);
        assert!(paper.text().contains("] 4/4 in "), "{}", paper.text());
    }

    #[test]
    fn a_bar_of_a_failed_stage_says_why() {
        let paper = Paper::default();
        let mut bars = Bars::new(ProgressDrawTarget::term_like(Box::new(paper.clone())));
        let mut stage = StageProgress::new("map".into());
        stage.start();
        stage.finish(Some("out of order".to_owned()));
        bars.show(0, &mut stage);
        assert!(paper.text().contains("0 out of order"), "{}", paper.text());
    }

    #[test]
    fn the_templates_are_valid() {
        for template in [SIZED, UNSIZED] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
