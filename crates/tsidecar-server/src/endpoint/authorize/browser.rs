//! What a browser sends: parameters, and how it says it came.

use hyper::{Method, Request, StatusCode};
use tsidecar_oauth::discovery::AUTHORIZE;
use tsidecar_oauth::params::Params;

use super::stay::Stay;
use crate::failure::Failure;
use crate::web::body;
use crate::web::inbound::Inbound;
use crate::web::navigation::Navigation;

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

/// A browser that names the kind of its request must be navigating (design section 5, attacks A23 and A49).
pub(super) fn check(navigation: Navigation) -> Result<(), Stay> {
    if navigation.is_in_background() { Err(Stay::NotNavigation) } else { Ok(()) }
}

/// Inside a frame only `prompt=none` goes on, since nothing is shown then; by the parameters that count.
pub(super) fn check_frame(navigation: Navigation, params: &Params) -> Result<(), Stay> {
    let silent = params.get("prompt") == Some("none");
    if navigation.is_framed() && !silent { Err(Stay::NotNavigation) } else { Ok(()) }
}
