#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod api;
mod client;
mod excerpt;
mod finish;
mod inbox;
mod reply;
mod retry_after;
mod secret;
mod transport;
mod url;

pub use api::JsonApi;
pub use client::{Client, ClientConfig};
pub use excerpt::excerpt;
pub use inbox::{Delivery, Inbox};
pub use reply::{BodyEnd, Reply};
pub use reqwest;
pub use retry_after::retry_after;
pub use secret::{Secret, redact};
pub use transport::transport_error;
pub use url::{base_url, below};
