//! What a browser sends: parameters, and how it says it came.

use hyper::header::HeaderMap;
use hyper::{Method, Request, StatusCode};
use tsidecar_oauth::discovery::AUTHORIZE;
use tsidecar_oauth::params::Params;

use super::stay::Stay;
use crate::failure::Failure;
use crate::web::body;
use crate::web::inbound::Inbound;

/// Reads the parameters: from the query of a GET, from the body of a POST.
pub(super) async fn read(request: Request<Inbound>) -> Result<Params, Stay> {
    if request.method() == Method::GET {
        let query = request.uri().query().unwrap_or_default();
        return Params::parse(query.as_bytes()).map_err(|error| Stay::Direct(error.into()));
    }
    let (parts, body) = request.into_parts();
    body::form(&parts.headers, parts.uri.query(), body).await.map_err(|failure| match failure {
        Failure::Refused { description, .. } => Stay::Unusable(StatusCode::BAD_REQUEST, description),
        Failure::Http { status, description } => Stay::Unusable(status, description.to_owned()),
        Failure::Unavailable { why, .. } | Failure::Broken { why } => {
            Stay::Unusable(StatusCode::BAD_REQUEST, why)
        }
    })
}

/// The longest query that a POST is sent on with.
const LONGEST_QUERY: usize = 8 * 1024;

/// Where a POST from another site is sent on to, with GET: browsers withhold `SameSite=Lax` cookies from such a post, so what
/// somebody did in this browser, signing out above all, could not be seen. `None` when it was none, or is too long for that.
pub(super) fn elsewhere(posted_from_another_site: bool, params: &Params) -> Option<String> {
    if !posted_from_another_site {
        return None;
    }
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(params.iter()).finish();
    (query.len() <= LONGEST_QUERY).then(|| format!("{AUTHORIZE}?{query}"))
}

/// What a browser says of its request.
pub(super) struct Navigation {
    names_site: bool,
    navigates: bool,
    /// From another site.
    pub(super) crosses: bool,
    framed: bool,
}

impl Navigation {
    /// Reads the headers.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            names_site: headers.contains_key("sec-fetch-site"),
            crosses: text("sec-fetch-site") == Some("cross-site"),
            navigates: text("sec-fetch-mode") == Some("navigate"),
            framed: !matches!(text("sec-fetch-dest"), None | Some("document")),
        }
    }

    /// A browser that names the kind of its request must be navigating (design section 5, attacks A23 and A49). Clients without
    /// these headers are no browsers.
    pub(super) fn check(&self) -> Result<(), Stay> {
        if self.names_site && !self.navigates { Err(Stay::NotNavigation) } else { Ok(()) }
    }

    /// Browsers withhold our cookie in a frame of another site: whether somebody signed out cannot be seen there, and a session
    /// that is begun there is one that the browser never shows again.
    pub(super) fn hides_cookies(&self) -> bool {
        self.names_site && self.framed && self.crosses
    }

    /// Inside a frame only `prompt=none` goes on, since nothing is shown then; by the parameters that count.
    pub(super) fn check_frame(&self, params: &Params) -> Result<(), Stay> {
        let silent = params.get("prompt") == Some("none");
        if self.names_site && self.framed && !silent { Err(Stay::NotNavigation) } else { Ok(()) }
    }
}
