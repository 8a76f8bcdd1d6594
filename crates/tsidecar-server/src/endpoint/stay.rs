//! Why a visit to one of our pages for people ends without what it was for. The reasons are alike, the words are each page's own.

use std::sync::Arc;

use hyper::{HeaderMap, StatusCode};
use tsidecar_oauth::identity::Identity;

use crate::app::App;
use crate::audit;
use crate::failure::Failure;
use crate::identity::{RefusedNode, Sighting};
use crate::peer::{Caller, Origin};
use crate::snapshot::Snapshot;
use crate::web::navigation::Navigation;
use crate::web::page::{Notice, unavailable};
use crate::web::response::Answer;

/// The reason; `Own` are those that only one page has.
pub(super) enum Stay<Own> {
    /// Through Funnel, or from an address that whois does not know.
    Outside,
    /// Not a window of the browser's own.
    NotWindow,
    /// A form that no page of ours sent.
    Forged,
    /// A device whose person nobody can tell, or that may not sign anybody in.
    Refused(RefusedNode),
    /// The request is unusable.
    Unusable(StatusCode, String),
    /// A passing state.
    Unavailable(String),
    /// Our own fault.
    Broken(String),
    /// What only this page has.
    Own(Own),
}

/// What is said: what is the matter, what that means, and what to do.
pub(super) type Text = [&'static str; 3];

/// What one page says of the reasons that all have.
pub(super) struct Words {
    pub(super) outside: Text,
    pub(super) not_window: Text,
    pub(super) forged: Text,
    pub(super) refused: Text,
    pub(super) unusable: Text,
    pub(super) broken: Text,
}

impl<Own, E: Into<Failure>> From<E> for Stay<Own> {
    fn from(error: E) -> Self {
        match error.into() {
            Failure::Refused { description, .. } => Self::Unusable(StatusCode::BAD_REQUEST, description),
            Failure::Http { status, description } => Self::Unusable(status, description.to_owned()),
            Failure::Unavailable { why, .. } => Self::Unavailable(why),
            Failure::Broken { why } => Self::Broken(why),
        }
    }
}

impl<Own> Stay<Own> {
    /// The page; `own` says what only this one has.
    pub(super) fn page(self, words: &Words, own: impl FnOnce(Own) -> (StatusCode, Text, String)) -> Answer {
        let (status, [title, what, cure], detail) = match self {
            Self::Outside => (StatusCode::FORBIDDEN, words.outside, String::new()),
            Self::NotWindow => (StatusCode::FORBIDDEN, words.not_window, String::new()),
            Self::Forged => (StatusCode::FORBIDDEN, words.forged, String::new()),
            Self::Refused(node) => (StatusCode::FORBIDDEN, words.refused, node.to_string()),
            Self::Unusable(status, why) => (status, words.unusable, why),
            Self::Unavailable(why) => return unavailable(&why),
            Self::Broken(why) => {
                tracing::error!(error.reason = %why, "a request failed on our side");
                (StatusCode::INTERNAL_SERVER_ERROR, words.broken, String::new())
            }
            Self::Own(reason) => own(reason),
        };
        audit::ended_on_page(title);
        Notice { title, what, cure, detail: &detail }.answer(status)
    }
}

/// Who is at the page: a person of the tailnet, in a window of their browser's own.
///
/// # Errors
/// [`Stay`].
pub(super) async fn visitor<Own>(
    app: &App,
    snapshot: &Snapshot,
    caller: &Caller,
    headers: &HeaderMap,
) -> Result<Arc<Identity>, Stay<Own>> {
    let Origin::Address(_) = caller.origin() else { return Err(Stay::Outside) };
    if !Navigation::of(headers).is_window() {
        return Err(Stay::NotWindow);
    }
    match snapshot.recognise(app.tailnet.identify_caller(caller).await?) {
        Sighting::Person(identity) => Ok(identity),
        Sighting::Unknown => Err(Stay::Outside),
        Sighting::Workload(_) => Err(Stay::Refused(RefusedNode::Tagged)),
        Sighting::Refused(refused) => Err(Stay::Refused(refused)),
    }
}
