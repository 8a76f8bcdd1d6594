//! `/healthz` and `/readyz`, on the operations socket only.

use std::sync::Arc;

use hyper::{Method, Request, StatusCode};
use serde::Serialize;

use crate::app::App;
use crate::web::error;
use crate::web::response::{Answer, json};

#[derive(Serialize)]
struct Health<'a> {
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Answers a request of the operations socket: alive is 200 as long as this answers at all; ready is 503 with the reason
/// while tailscaled is away or its configuration opens our sockets to others.
pub fn route<B>(app: &Arc<App>, request: &Request<B>) -> Answer {
    if request.method() != Method::GET {
        return error::method_not_allowed("GET");
    }
    match request.uri().path() {
        "/healthz" => health(StatusCode::OK, "alive", None),
        "/readyz" => match app.tailnet.readiness() {
            Ok(()) => health(StatusCode::OK, "ready", None),
            Err(unready) => health(StatusCode::SERVICE_UNAVAILABLE, "not ready", Some(unready.to_string())),
        },
        _ => error::not_found(),
    }
}

fn health(status: StatusCode, word: &str, reason: Option<String>) -> Answer {
    json(status, serde_json::to_vec(&Health { status: word, reason }).unwrap_or_default())
}
