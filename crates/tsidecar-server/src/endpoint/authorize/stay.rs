//! The pages on which an authorization ends when nobody may be redirected.

use hyper::StatusCode;
use tsidecar_oauth::authorize::{DirectError, RedirectReason};

use crate::audit;
use crate::identity::RefusedNode;
use crate::web::page::Notice;
use crate::web::response::Answer;

/// Why a request ends on a page of ours instead of a redirect.
#[derive(Debug)]
pub(super) enum Stay {
    /// Through Funnel, or from an address that whois does not know.
    Outside,
    /// Not a navigation of the browser's own window.
    NotNavigation,
    /// Nobody may be redirected.
    Direct(DirectError),
    /// An error that a stranger is not told, for the person has not allowed it anything (attack A51).
    Withheld(RedirectReason, Option<RefusedNode>),
    /// The request is unusable as HTTP.
    Unusable(StatusCode, String),
    /// The application has a document at its id that describes no client.
    Document(String),
    /// The headers contradict what whois says.
    Contradiction,
    /// A form that was not sent by a page of ours.
    Elsewhere,
    /// A form that was not made by us, or was changed.
    Unreadable,
    /// A form that was answered before.
    Answered,
}

/// The page, as an answer.
pub(super) fn page(stay: &Stay) -> Answer {
    let (status, notice, detail) = match stay {
        Stay::Outside => (StatusCode::FORBIDDEN, OUTSIDE, String::new()),
        Stay::NotNavigation => (StatusCode::FORBIDDEN, NOT_NAVIGATION, String::new()),
        Stay::Contradiction => (StatusCode::BAD_REQUEST, CONTRADICTION, String::new()),
        Stay::Elsewhere => (StatusCode::FORBIDDEN, ELSEWHERE, String::new()),
        Stay::Unreadable => (StatusCode::BAD_REQUEST, UNREADABLE, String::new()),
        Stay::Answered => (StatusCode::BAD_REQUEST, ANSWERED, String::new()),
        Stay::Direct(error) => (status_for(error), notice_for(error), error.to_string()),
        Stay::Withheld(reason, node) => (status_of(*reason), WITHHELD, told(*reason, *node)),
        Stay::Document(why) => (StatusCode::BAD_REQUEST, DOCUMENT, why.clone()),
        Stay::Unusable(status, why) => (*status, UNUSABLE, why.clone()),
    };
    let [title, what, cure] = notice;
    audit::ended_on_page(title);
    Notice { title, what, cure, detail: &detail }.answer(status)
}

const OUTSIDE: [&str; 3] = [
    "Open this from your tailnet",
    "Signing in works only from a device that is connected to the tailnet, and this one is not.",
    "Connect Tailscale on this device, then go back to the application and sign in again.",
];
const NOT_NAVIGATION: [&str; 3] = [
    "This sign-in was not started by you",
    "A web page tried to sign you in inside itself or in the background.",
    "Open the application in a tab of its own and sign in there.",
];
const CONTRADICTION: [&str; 3] = [
    "This request cannot be trusted",
    "It names a person other than the one the tailnet knows for this device.",
    "Remove any proxy between Tailscale and this service, then try again.",
];
const ELSEWHERE: [&str; 3] = [
    "This answer did not come from our page",
    "Another web page, or a frame, tried to answer in your place. Nothing was done.",
    "Go back to the application and start again.",
];
const UNREADABLE: [&str; 3] = [
    "This answer cannot be read",
    "It was changed on its way, or this service has got new keys since the page was shown. Nothing was done.",
    "Go back to the application and start again.",
];
const WITHHELD: [&str; 3] = [
    "The sign-in did not work",
    "You have not allowed this application anything yet, so you are not sent to it with an error.",
    "Go back to the application and start again. If it happens again, tell the person who runs it what stands below.",
];
const ANSWERED: [&str; 3] = [
    "You have answered this already",
    "Each of these pages takes one answer. The first one counts; nothing more was done.",
    "Go back to the application. If you are not signed in there, start again.",
];
const UNUSABLE: [&str; 3] = [
    "The application sent a request that cannot be read",
    "The sign-in request is not in the form that applications use.",
    "Go back to the application and start again; if it happens again, tell the person who runs it.",
];
/// Clients that registered themselves keep a dead id for ever, and only the person in front of them can make them forget it; on
/// exactly 400 `FastMCP`'s does by itself (reference/oauth.md 4.5).
const UNKNOWN_CLIENT: [&str; 3] = [
    "This application is not known here",
    "The application that sent you is not registered with this sign-in service, or no longer.",
    "If it worked before, let the application forget its old registration and connect again: in Claude Code by /mcp and “Clear authentication”, in VS Code by the command “Authentication: Remove Dynamic Authentication Providers”, with mcp-remote by deleting the folder ~/.mcp-auth, elsewhere by removing the server and adding it again. If it never worked, ask the person who runs this service to add it.",
];
const DOCUMENT: [&str; 3] = [
    "The application does not describe itself rightly",
    "It is known by a document on the web, at the address that it gives as its name, and that cannot be used. Nobody is sent to an address that such a document names.",
    "Tell the people who make the application what stands below.",
];
const BAD_REDIRECT: [&str; 3] = [
    "The application asked to return to an unknown address",
    "For your safety nobody is sent to an address that is not registered for the application.",
    "If the application registered itself, let it forget its registration and connect again; otherwise ask the person who runs this service to add the application's redirect URI, letter for letter.",
];

const EXPIRED: [&str; 3] = [
    "This sign-in request is no longer good",
    "It was used already, or it has waited for more than a minute.",
    "Go back to the application and start again.",
];
const LATER: [&str; 3] = [
    "Sign-in is not possible right now",
    "The application's request cannot be checked at the moment.",
    "Wait a few seconds and load this page again. If it stays like this, tell the person who runs this service.",
];

const fn notice_for(error: &DirectError) -> [&'static str; 3] {
    match error {
        DirectError::UnknownClient | DirectError::MissingClient | DirectError::ClientId(_) => UNKNOWN_CLIENT,
        DirectError::MissingRedirect | DirectError::UnregisteredRedirect { .. } => BAD_REDIRECT,
        DirectError::NoTarget(RedirectReason::Pushed) => EXPIRED,
        DirectError::NoTarget(RedirectReason::Unavailable | RedirectReason::Broken) => LATER,
        DirectError::Params(_) | DirectError::NoTarget(_) => UNUSABLE,
    }
}

const fn status_for(error: &DirectError) -> StatusCode {
    match error {
        DirectError::NoTarget(reason) => status_of(*reason),
        _ => StatusCode::BAD_REQUEST,
    }
}

const fn status_of(reason: RedirectReason) -> StatusCode {
    match reason {
        RedirectReason::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        RedirectReason::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        RedirectReason::Denied(_) | RedirectReason::Device => StatusCode::FORBIDDEN,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// What the application would have been told.
fn told(reason: RedirectReason, node: Option<RefusedNode>) -> String {
    let code = reason.code();
    node.map_or_else(|| format!("{code}: {reason}"), |node| format!("{code}: {reason}: {node}"))
}
