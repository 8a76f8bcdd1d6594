//! What people see at `/logout`: the question, how it ended, and why not.

use askama::Template;
use hyper::StatusCode;
use tsidecar_oauth::client::Client;
use tsidecar_oauth::identity::Identity;
use tsidecar_oauth::secret::TokenText;

use crate::endpoint::device::leading_to;
use crate::endpoint::stay::{self, Words};
use crate::web::page::Notice;
use crate::web::response::Answer;
use crate::web::words;

/// What a person is asked.
#[derive(Debug, Template)]
#[template(path = "logout.html")]
struct Question<'a> {
    person: &'a str,
    device: &'a str,
    client: &'a str,
    form: &'a str,
}

/// The page that asks. `target` is where the answer may lead, as the source of a policy.
pub(super) fn question(
    identity: &Identity,
    client: Option<&Client>,
    form: &TokenText,
    target: Option<&str>,
) -> Answer {
    let names = [identity.display_name.as_str(), identity.login.as_str()];
    let person = names.into_iter().find(|name| !name.is_empty()).unwrap_or(identity.subject.as_str());
    let device = identity.device.name.split('.').next().unwrap_or_default();
    let client = client.map_or(String::new(), words::client);
    let page = Question { person, device, client: &client, form: form.expose() };
    leading_to(target, StatusCode::OK, page.render().unwrap_or_default())
}

/// The page that says that it is done.
pub(super) fn done() -> Answer {
    let notice = Notice {
        title: "You are signed out",
        what: "Applications that can be told are being told; others may keep you signed in.",
        cure: "You can close this page. The next sign-in with this browser asks you first.",
        detail: "",
    };
    notice.answer(StatusCode::OK)
}

/// Why a visit ends that no other page has.
pub(super) enum Own {
    /// A form that was shown too long ago, or to somebody else.
    Stale,
    /// What the application sent does not add up.
    Wrong(String),
}

pub(super) type Stay = stay::Stay<Own>;

/// The page on which a visit ends.
pub(super) fn ended(stay: Stay) -> Answer {
    stay.page(&WORDS, |own| match own {
        Own::Stale => (StatusCode::BAD_REQUEST, STALE, String::new()),
        Own::Wrong(why) => (StatusCode::BAD_REQUEST, WRONG, why),
    })
}

const STALE: [&str; 3] = [
    "You are still signed in",
    "The page before was too old, or it was shown to somebody else.",
    "Open this page anew, if you want to sign out.",
];
const WRONG: [&str; 3] = [
    "The application asked for a sign-out that cannot be trusted",
    "You are still signed in, and for your safety nobody is sent to where the application said.",
    "Sign out on this service's own page, and tell the person who runs the application.",
];

const WORDS: Words = Words {
    outside: [
        "Open this from your tailnet",
        "Signing out works only from a device that is connected to the tailnet, and this one is not.",
        "Connect Tailscale on this device, then load this page again.",
    ],
    not_window: [
        "This sign-out was not started by you",
        "A web page tried to sign you out inside itself or in the background.",
        "Open this page in a tab of its own, if you want to sign out.",
    ],
    forged: [
        "This was not sent by you",
        "Another web page, or a program, tried to answer in your name.",
        "If you meant to sign out, open this page anew.",
    ],
    refused: [
        "Nobody is signed in from this device",
        "The tailnet does not say reliably whose device this is.",
        "There is nothing to do.",
    ],
    unusable: [
        "The application sent a request that cannot be read",
        "The request to sign out is not in the form that applications use. You are still signed in.",
        "Go back to the application and start again.",
    ],
    broken: [
        "An error on our side",
        "You may still be signed in.",
        "Try again; if it stays like this, tell the person who runs this service.",
    ],
};
