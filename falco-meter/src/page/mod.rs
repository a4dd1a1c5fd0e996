//! The page: static text without data, which the report shares.

pub(crate) const HTML: &str = include_str!("index.html");
pub(crate) const SCRIPT: &str = include_str!("app.js");
pub(crate) const STYLE: &str = include_str!("app.css");
