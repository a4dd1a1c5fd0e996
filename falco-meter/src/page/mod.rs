//! The page: static text without data, which the report shares.

pub(crate) const HTML: &str = include_str!("index.html");
pub(crate) const STYLE: &str = include_str!("app.css");
/// One script, whose parts share a scope.
pub(crate) const SCRIPT: &str = concat!(
    include_str!("app/base.js"),
    include_str!("app/numbers.js"),
    include_str!("app/series.js"),
    include_str!("app/heat.js"),
    include_str!("app/timeline.js"),
    include_str!("app/lists.js"),
    include_str!("app/load.js"),
    include_str!("app/draw.js"),
    include_str!("app/live.js"),
);
