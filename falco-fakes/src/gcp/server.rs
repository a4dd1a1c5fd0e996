//! The one place that knows which service a path belongs to.

use std::sync::Arc;

use falco_core::async_trait;

use super::world::World;
use super::{front, functions, logging, reply, run, storage, tasks, tokens};
use crate::http::{Provider, Reply, Request};

/// No request that tests send is longer.
const MAX_REQUEST: usize = 64 << 20;

#[async_trait]
impl Provider for World {
    async fn answer(self: Arc<Self>, request: Request) -> Reply {
        if request.body.len() > MAX_REQUEST {
            return reply::html(413, "Request Entity Too Large");
        }
        dispatch(&self, request).await
    }

    fn finish(&self, request: &Request, reply: Reply) -> Reply {
        // Whatever a function answers passes Google's front end. A fault with another name comes from what stands before it.
        match request.path.starts_with("/run/") && !reply.has_header("server") {
            true => reply.with_header("server", "Google Frontend"),
            false => reply,
        }
    }

    fn started(&self, url: &str) {
        let _ = self.url.set(url.to_owned());
    }

    fn ended(&self) {
        // Processes of functions end with their handles, which need the runtime.
        self.state().functions.clear();
    }
}

async fn dispatch(world: &Arc<World>, seen: Request) -> Reply {
    // A front end's rule, which clients forget.
    if matches!(&*seen.method, "POST" | "PUT" | "PATCH")
        && !seen.headers.contains_key("content-length")
        && !seen.headers.contains_key("transfer-encoding")
    {
        return reply::html(411, "Length Required");
    }
    let path = seen.path.clone();
    if path == "/token" {
        return tokens::grant(world, &seen);
    }
    if path.starts_with("/computeMetadata/") {
        return tokens::metadata(world, &seen);
    }
    if path.starts_with("/run/") {
        return front::serve(world, &seen).await;
    }
    if path.starts_with("/upload-signed/") {
        return functions::upload(world, &seen);
    }
    let Some(caller) = tokens::caller(world, &seen) else {
        return reply::error(
            401,
            "UNAUTHENTICATED",
            "Request had invalid authentication credentials.",
        );
    };
    let segments = seen.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        ["v1", "projects", "-", "serviceAccounts", call] => tokens::impersonate(world, &seen, call),
        ["v2", "entries:list"] => logging::list(world, &seen),
        ["v1", "projects", call] if call.ends_with(":testIamPermissions") => {
            let asked = seen.json()["permissions"].as_array().cloned().unwrap_or_default();
            let denied = &world.state().denied_permissions;
            let held =
                |it: &serde_json::Value| !denied.iter().any(|name| it.as_str() == Some(name));
            let held: Vec<_> = asked.into_iter().filter(held).collect();
            reply::ok(&serde_json::json!({"permissions": held}))
        }
        ["v2", "projects", _, "locations", _, kind, rest @ ..] => match *kind {
            "functions" | "functions:generateUploadUrl" | "operations" | "runtimes" => {
                functions::serve(world, &seen, kind, rest)
            }
            "services" => run::serve(world, &seen, rest),
            "queues" => tasks::serve(world, &seen, rest),
            _ => reply::html(404, "Not Found"),
        },
        ["storage", "v1", rest @ ..] => storage::serve(world, &seen, rest),
        ["upload", "storage", "v1", "b", bucket, "o"] => {
            storage::insert(world, &seen, bucket, &caller)
        }
        _ => reply::html(404, "Not Found"),
    }
}
