//! An SVG with two axes.

use std::fmt::Write;

use super::plain;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 44.0;

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// An SVG with two axes.
pub(super) struct Chart {
    x: (f64, f64),
    y: (f64, f64),
    body: String,
    names: usize,
}

// Writing to a string cannot fail.
impl Chart {
    pub(super) fn new(x: (f64, f64), y: (f64, f64)) -> Self {
        Self { x, y, body: String::new(), names: 0 }
    }

    pub(super) fn linear(to: f64, top: f64, x: &str, y: &str) -> Self {
        let mut chart = Self::new((0.0, to), (0.0, top * 1.05));
        chart.axes_with(x, y, |at| Some(plain(at)), |at| Some(plain(at)));
        chart
    }

    pub(super) fn axes(&mut self, x: &str, y: &str, name_x: impl Fn(f64) -> Option<String>) {
        self.axes_with(x, y, name_x, |at| Some(plain(at)));
    }

    pub(super) fn axes_with(
        &mut self,
        x: &str,
        y: &str,
        name_x: impl Fn(f64) -> Option<String>,
        name_y: impl Fn(f64) -> Option<String>,
    ) {
        for at in ticks(self.x) {
            let Some(name) = name_x(at) else { continue };
            let (place, base) = (self.place_x(at), HEIGHT - BOTTOM);
            let _ = writeln!(
                self.body,
                "<line x1=\"{place:.1}\" y1=\"{base}\" x2=\"{place:.1}\" y2=\"{TOP}\" class=\"g\"/>\
                 <text x=\"{place:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>",
                base + 16.0
            );
        }
        for at in ticks(self.y) {
            let Some(name) = name_y(at) else { continue };
            let place = self.place_y(at);
            let _ = writeln!(
                self.body,
                "<line x1=\"{LEFT}\" y1=\"{place:.1}\" x2=\"{}\" y2=\"{place:.1}\" class=\"g\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                place + 4.0
            );
        }
        let _ = writeln!(
            self.body,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{x}</text>\
             <text transform=\"translate(14 {}) rotate(-90)\" text-anchor=\"middle\">{y}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 8.0,
            (TOP + HEIGHT - BOTTOM) / 2.0
        );
    }

    fn place_x(&self, at: f64) -> f64 {
        LEFT + (at - self.x.0) / (self.x.1 - self.x.0).max(1e-12) * (WIDTH - LEFT - RIGHT)
    }

    fn place_y(&self, at: f64) -> f64 {
        HEIGHT
            - BOTTOM
            - (at - self.y.0) / (self.y.1 - self.y.0).max(1e-12) * (HEIGHT - TOP - BOTTOM)
    }

    /// A line that keeps each value until the next point.
    pub(super) fn steps(&mut self, points: &[(f64, f64)], color: &str, name: &str) {
        let mut all = Vec::with_capacity(points.len() * 2);
        for (index, (at, value)) in points.iter().enumerate() {
            all.push((*at, *value));
            if let Some((next, _)) = points.get(index + 1) {
                all.push((*next, *value));
            }
        }
        self.line(&all, color, name);
    }

    pub(super) fn line(&mut self, points: &[(f64, f64)], color: &str, name: &str) {
        let mut path = String::new();
        for (at, value) in points {
            let _ = write!(path, "{:.1},{:.1} ", self.place_x(*at), self.place_y(*value));
        }
        let y = TOP + 12.0 + self.names as f64 * 16.0;
        self.names += 1;
        let _ = writeln!(
            self.body,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\"/>\
             <line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke=\"{color}\" stroke-width=\"3\"/>\
             <text x=\"{}\" y=\"{y}\">{}</text>",
            path.trim_end(),
            LEFT + 10.0,
            y - 4.0,
            LEFT + 26.0,
            y - 4.0,
            LEFT + 32.0,
            escaped(name)
        );
    }

    pub(super) fn cell(&mut self, from: (f64, f64), to: (f64, f64), color: &str, strength: f64) {
        let (x, y) = (self.place_x(from.0), self.place_y(to.1));
        let (width, height) = (self.place_x(to.0) - x, self.place_y(from.1) - y);
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{color}\" \
             fill-opacity=\"{strength:.2}\"/>",
            width.max(0.5)
        );
    }

    pub(super) fn text(&mut self, at: (f64, f64), text: &str) {
        let (x, y) = (self.place_x(at.0) + 6.0, self.place_y(at.1) + 4.0);
        let _ = writeln!(self.body, "<text x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escaped(text));
    }

    pub(super) fn finish(self) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\">\n\
             <style>.g{{stroke:#ddd;stroke-width:1}}</style>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{}</svg>\n",
            self.body
        )
    }
}

/// Some round values within a range.
fn ticks((from, to): (f64, f64)) -> Vec<f64> {
    let rough = (to - from).max(1e-9) / 6.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(power);
    let first = (from / step).ceil() as i64;
    let last = (to / step + 1e-9).floor() as i64;
    (first..=last).take(50).map(|n| n as f64 * step).collect()
}
