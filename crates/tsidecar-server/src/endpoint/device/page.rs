//! What people see at `/device`: where to enter a code, what they are about to allow, and how it ended.

use askama::Template;
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use tsidecar_oauth::client::Client;
use tsidecar_oauth::device::{DeviceRequest, Relation, UserCode, Vouched};
use tsidecar_oauth::identity::Identity;
use tsidecar_oauth::secret::TokenText;
use tsidecar_oauth::time::UnixTime;

use crate::web::page::{self, Notice, STYLE};
use crate::web::response::Answer;
use crate::web::words::{self, ago, meaning};

/// The style of these pages beside that of all pages, by its hash.
const OWN_STYLE: &str = "'sha256-Gx063gGAo4Zxa7+9rsGeX7zW19RVfpsfe+SffAwg4Z8='";

/// What the pages may do: show their two styles, and send their form to us (attack A11). `target` is where the answer of the
/// form may lead, for browsers apply `form-action` to redirects, too.
fn policy(target: Option<&str>) -> String {
    format!(
        "default-src 'none'; style-src {STYLE} {OWN_STYLE}; form-action 'self'{}{}; base-uri 'none'; frame-ancestors 'none'",
        target.map_or("", |_| " "),
        target.unwrap_or_default()
    )
}

/// Where a code is entered, or compared when a link brought it.
#[derive(Debug, Template)]
#[template(path = "device_code.html")]
struct Entry<'a> {
    person: &'a str,
    problem: &'a str,
    code: Option<String>,
}

/// What a person is asked.
#[derive(Debug, Template)]
#[template(path = "device_answer.html")]
struct Question<'a> {
    client: &'a str,
    unverified: bool,
    client_id: &'a str,
    device: &'a str,
    owner: String,
    started: String,
    code: String,
    person: &'a str,
    gets: Vec<String>,
    warning: String,
    form: &'a str,
}

/// The page on which a code is entered; one that a link brought must be compared, and sent all the same.
pub(super) fn entry(identity: &Identity, code: Option<UserCode>) -> Answer {
    let code = code.map(|code| code.shown());
    show(StatusCode::OK, Entry { person: name_of(identity), problem: "", code }.render())
}

/// The same page after something went wrong.
pub(super) fn entry_again(identity: &Identity, status: StatusCode, problem: &str) -> Answer {
    show(status, Entry { person: name_of(identity), problem, code: None }.render())
}

/// What a person is shown before they answer.
pub(super) struct Shown<'a> {
    /// Who.
    pub(super) identity: &'a Identity,
    /// The client.
    pub(super) client: &'a Client,
    /// What its device asked for.
    pub(super) request: &'a DeviceRequest,
    /// The code.
    pub(super) user: UserCode,
    /// When.
    pub(super) now: UnixTime,
}

impl Shown<'_> {
    /// The page with the two buttons.
    pub(super) fn question(&self, vouched: Vouched, form: &TokenText) -> Answer {
        let requester = self.request.requester.as_ref();
        let relation = Relation::of(requester, self.identity);
        let device = requester.map_or("an unknown device", |requester| &requester.name);
        let question = Question {
            client: &words::client(self.client),
            unverified: vouched == Vouched::ByNobody,
            client_id: self.client.id().as_str(),
            device,
            owner: owner(relation),
            started: ago(self.request.started_at, self.now),
            code: self.user.shown(),
            person: name_of(self.identity),
            gets: self.gets(),
            warning: warning(relation, device, self.client.name()),
            form: form.expose(),
        };
        show(StatusCode::OK, question.render())
    }

    /// How it ended: allowed.
    pub(super) fn allowed(&self) -> Answer {
        let device = self.request.requester.as_ref().map_or("the other device", |known| &known.name);
        let what =
            format!("{} will be signed in on {device} as {}.", self.client.name(), name_of(self.identity));
        Notice {
            title: "Continue on the other device",
            what: &what,
            cure: "You can close this page. The other device notices within a few seconds.",
            detail: "",
        }
        .answer(StatusCode::OK)
    }

    fn gets(&self) -> Vec<String> {
        let scopes = self.request.scope.iter().map(|token| meaning(token.as_str()));
        let resources = self.request.resources.iter().map(|uri| format!("access to {uri}"));
        scopes.chain(resources).collect()
    }
}

/// How it ended: denied.
pub(super) fn denied() -> Answer {
    Notice {
        title: "Nobody was signed in",
        what: "You denied the request. The other device gets nothing.",
        cure: "If you did not start this yourself, tell the person who runs this service: somebody may have tried to sign in as you.",
        detail: "",
    }
    .answer(StatusCode::OK)
}

fn show(status: StatusCode, rendered: askama::Result<String>) -> Answer {
    with_buttons(status, rendered.unwrap_or_else(|_| "This page cannot be shown.".to_owned()))
}

/// A page with the style of these ones: its buttons take no pointer for the first second.
pub(in crate::endpoint) fn with_buttons(status: StatusCode, text: String) -> Answer {
    leading_to(None, status, text)
}

/// As [`with_buttons`], with the source of a policy to which the answer of the form may lead.
pub(in crate::endpoint) fn leading_to(target: Option<&str>, status: StatusCode, text: String) -> Answer {
    let mut answer = page::html(status, text);
    // Without a second style the page still reads well, should this ever be no header value.
    if let Ok(policy) = HeaderValue::from_str(&policy(target)) {
        answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    answer
}

fn name_of(identity: &Identity) -> &str {
    [&identity.login, &identity.display_name]
        .into_iter()
        .find(|name| !name.is_empty())
        .map_or("", String::as_str)
}

fn owner(relation: Relation<'_>) -> String {
    match relation {
        Relation::Same => "this device".to_owned(),
        Relation::Own => "yours".to_owned(),
        Relation::Foreign(name) => format!("belongs to {name}"),
        Relation::Tagged => "a machine without an owner".to_owned(),
        Relation::Unknown => "the tailnet does not say whose".to_owned(),
    }
}

fn warning(relation: Relation<'_>, device: &str, client: &str) -> String {
    match relation {
        Relation::Same | Relation::Own => String::new(),
        Relation::Foreign(name) => format!(
            "This was started on {device}, which belongs to {name}, not to you. If you allow it, {name} can use {client} as you. \
             Somebody who sends you a link or a code may want exactly that."
        ),
        Relation::Tagged => format!(
            "This was started on {device}, a machine that belongs to nobody. If you allow it, everybody who can use that machine \
             can use {client} as you."
        ),
        Relation::Unknown => format!(
            "The tailnet cannot tell on which device this was started. If you allow it, whoever started it can use {client} as \
             you. Somebody who sends you a link or a code may want exactly that."
        ),
    }
}

#[cfg(test)]
mod tests {
    use base64ct::{Base64, Encoding};
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_policy_allows_exactly_the_styles_of_the_page() {
        let entry = Entry { person: "p", problem: "", code: None }.render().unwrap();
        let hashes: Vec<_> = entry
            .split("<style>")
            .skip(1)
            .map(|part| part.split_once("</style>").unwrap().0)
            .map(|style| format!("'sha256-{}'", Base64::encode_string(&Sha256::digest(style.as_bytes()))))
            .collect();
        assert!(policy(None).contains(&format!("style-src {};", hashes.join(" "))), "{hashes:?}");
    }

    #[test]
    fn whatever_a_device_is_called_is_text() {
        let entry = Entry { person: "<script>", problem: "\"><b>", code: None }.render().unwrap();
        assert!(!entry.contains("<script>") && !entry.contains("<b>"));
    }
}
