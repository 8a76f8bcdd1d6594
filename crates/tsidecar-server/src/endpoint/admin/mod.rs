//! `admin.sock`: what the command line asks of the running daemon, as JSON over HTTP/1.1.
//!
//! | Path | Methods |
//! | --- | --- |
//! | `/clients/` | GET: every client |
//! | `/clients/new` | POST: make one |
//! | `/clients/{id}` | GET; PUT: make or replace; DELETE |
//! | `/clients/{id}/rotate-secret` | POST |
//! | `/clients/{id}/approve`, `/clients/{id}/disapprove` | POST |
//! | `/admin/documents` | GET: clients known by a document |
//! | `/admin/keys`, `/admin/status`, `/admin/whois?addr=IP` | GET |
//! | `/admin/keys/rotate` | POST |
//! | `/admin/grants?user=&client=&device=&after=&limit=` | GET: a page of grants |
//! | `/admin/grants/{id}/revoke` | POST |
//! | `/admin/consents?user=&client=&after_user=&after_client=` | GET: a page of what people have allowed strangers |
//! | `/admin/consents/revoke` | POST |
//! | `/admin/resources`, `/admin/resources/metadata?resource=URL` | GET |
//!
//! The socket admits root and never tailscaled, and no request with a sign of a proxy gets here ([`crate::serve`]), so that a
//! mistaken `tailscale serve` of this socket gives nobody anything.

mod approvals;
mod clients;
mod consents;
pub mod documents;
mod error;
mod grants;
mod keys;
pub mod resources;
pub mod shape;
mod status;

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Body;
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::clients::Desk;
use self::error::AdminError;
use self::shape::{ClientRequest, RotateRequest};
use crate::app::App;
use crate::keys::rotation::Bench;
use crate::web::body;
use crate::web::response::{Answer, empty, json};

/// Answers one request of the administration socket.
pub async fn route<B>(app: &Arc<App>, request: Request<B>) -> Answer
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let desk = Desk { snapshot: &app.snapshot, store: &*app.store, now: app.clock.now() };
    let path = request.uri().path();
    let answered = if path == keys::ROTATE {
        keys::rotate(Bench::of(app), request).await
    } else if let Some(rest) = path.strip_prefix(grants::PATH) {
        grants::route(&*app.store, app.clock.now(), rest, &request).await
    } else if let Some(rest) = path.strip_prefix(consents::PATH) {
        let rest = rest.to_owned();
        consents::route(&*app.store, app.clock.now(), &rest, request).await
    } else if path == documents::PATH {
        documents::route(app, &request)
    } else if let Some(rest) = path.strip_prefix(resources::PATH) {
        resources::route(&app.snapshot.load(), rest, &request)
    } else if path.starts_with("/admin/") {
        status::route(app, &request).await
    } else if let Some((id, wanted)) = approvals::named(path) {
        approvals::route(app, &id, wanted, request).await
    } else if let Some(id) = approvals::document(path)
        && request.method() == Method::GET
        && app.snapshot.load().client(&id).is_none()
    {
        approvals::show_document(app, &id).await
    } else {
        clients_route(&desk, request).await
    };
    answered.unwrap_or_else(|error| error.answer())
}

/// What a path under `/clients/` names.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    All,
    New,
    One(String),
    Secret(String),
}

impl Target {
    fn of(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/clients")?;
        let rest = rest.strip_prefix('/').or(rest.is_empty().then_some(""))?;
        match rest.split_once('/') {
            None if rest.is_empty() => Some(Self::All),
            None if rest == "new" => Some(Self::New),
            None => decode(rest).map(Self::One),
            Some((id, "rotate-secret")) => decode(id).map(Self::Secret),
            Some(_) => None,
        }
    }

    const fn methods(&self) -> &'static str {
        match self {
            Self::All => "GET",
            Self::New => "GET, POST, PUT, DELETE",
            Self::One(_) => "GET, PUT, DELETE",
            Self::Secret(_) => "POST",
        }
    }
}

/// Undoes percent-encoding: a client id may hold a slash.
fn decode(segment: &str) -> Option<String> {
    let escaped = segment.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    let (text, _) = url::form_urlencoded::parse(escaped.as_bytes()).next()?;
    (!text.is_empty()).then(|| text.into_owned())
}

async fn clients_route<B>(desk: &Desk<'_>, request: Request<B>) -> Result<Answer, AdminError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let target = Target::of(request.uri().path()).ok_or(AdminError::NoPath)?;
    let method = request.method().clone();
    let methods = target.methods();
    // `new` is where a client is made; every other method means a client of that name.
    let target = match target {
        Target::New if method != Method::POST => Target::One("new".to_owned()),
        other => other,
    };
    match (target, method) {
        (Target::All, Method::GET) => answer(StatusCode::OK, &desk.list()?),
        (Target::New, Method::POST) => {
            let request: ClientRequest = read_json(request).await?;
            answer(StatusCode::CREATED, &desk.add(request).await?)
        }
        (Target::One(id), Method::GET) => answer(StatusCode::OK, &desk.show(&id)?),
        (Target::One(id), Method::PUT) => {
            let (is_new, client) = desk.put(&id, read_json(request).await?).await?;
            answer(if is_new { StatusCode::CREATED } else { StatusCode::OK }, &client)
        }
        (Target::One(id), Method::DELETE) => {
            desk.remove(&id).await?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        (Target::Secret(id), Method::POST) => {
            let RotateRequest { mode } = read_json(request).await?;
            answer(StatusCode::OK, &desk.rotate(&id, mode).await?)
        }
        _ => Err(AdminError::Method(methods)),
    }
}

/// Reads a JSON body; an empty one is an empty object.
async fn read_json<T, B>(request: Request<B>) -> Result<T, AdminError>
where
    T: DeserializeOwned,
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let body = body::read(request.into_body()).await?;
    let text: &[u8] = if body.is_empty() { b"{}" } else { &body };
    serde_json::from_slice(text)
        .map_err(|error| AdminError::Invalid(format!("the body is not as expected: {error}")))
}

fn answer(status: StatusCode, value: &impl Serialize) -> Result<Answer, AdminError> {
    let body = serde_json::to_vec(value);
    body.map(|body| json(status, body)).map_err(|error| AdminError::Invalid(error.to_string()))
}

#[cfg(test)]
mod tests;
