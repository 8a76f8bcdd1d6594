//! The page that asks whether a stranger is allowed, and the one that shows what was allowed (design section 6). Both work without a
//! script; their buttons take no pointer for the first second, so that a click that was meant for something else does not count
//! (attack A49).

use askama::Template;
use hyper::StatusCode;
use hyper::header::HeaderValue;

use super::ask::OWN_STYLE as BUTTONS;
use super::page::{STYLE, page};
use super::response::Answer;

/// The style of these pages alone, by its hash.
const OWN_STYLE: &str = "'sha256-JmQU3rrGaxEozjtjPRc/R/2+B/gZdeLtUE1Tddfkf7U='";

/// What the page says. All of it is text; names that strangers chose come shortened ([`words::name`](super::words::name)).
#[derive(Debug, Template)]
#[template(path = "consent.html")]
pub struct Consent<'a> {
    /// Where the form goes: a path of ours.
    pub action: &'a str,
    /// The name that the application gave itself, or its id.
    pub client: String,
    /// Its whole id.
    pub client_id: &'a str,
    /// How it came to be known here.
    pub origin: Origin,
    /// Where the person goes afterwards.
    pub place: Place,
    /// The resources that it wants to use.
    pub resources: Vec<&'a str>,
    /// What it gets, in words.
    pub gets: Vec<String>,
    /// Who the person is.
    pub name: &'a str,
    /// Their login name; may be empty.
    pub login: &'a str,
    /// Their device.
    pub device: &'a str,
    /// What is worth a warning beside that nobody has checked it; may be empty.
    pub warning: String,
    /// Why the sign-in itself is asked for, or why the page comes again; may be empty.
    pub reason: &'a str,
    /// The sealed form.
    pub form: &'a str,
}

/// How an application came to be known here.
#[derive(Debug)]
pub enum Origin {
    /// By a document at this host.
    Published(String),
    /// By a registration: by whom, from where, and when.
    Registered(String),
}

/// Where a person goes after the page.
#[derive(Debug)]
pub enum Place {
    /// Into the web, to this host.
    Host(String),
    /// To a program on this device, by this address.
    Loopback(String),
    /// To the program on this device that answers to this scheme.
    Scheme(String),
}

/// One application that a person has allowed something.
#[derive(Debug)]
pub struct App<'a> {
    /// Its name, or its id.
    pub client: String,
    /// Its whole id.
    pub client_id: &'a str,
    /// Each thing that was allowed: where it returns to, what it may, and since when.
    pub allowed: Vec<[String; 3]>,
    /// The sealed form that takes it back.
    pub form: String,
}

/// What a person has allowed.
#[derive(Debug, Template)]
#[template(path = "consents.html")]
pub struct Apps<'a> {
    /// Where the forms go: a path of ours.
    pub action: &'a str,
    /// Who the person is.
    pub name: &'a str,
    /// The applications.
    pub apps: Vec<App<'a>>,
    /// Whether there may be more applications than these.
    pub more: bool,
    /// What has just happened; may be empty.
    pub done: &'a str,
}

impl Consent<'_> {
    /// The page as an answer. `target` is where the answer of the form may lead, as a source of a policy: browsers apply
    /// `form-action` to redirects, too. `None` for a source that no policy can name, which none is.
    pub fn answer(&self, target: Option<&str>) -> Option<Answer> {
        answer(StatusCode::OK, self.render().ok()?, target)
    }
}

impl Apps<'_> {
    /// The page as an answer.
    pub fn answer(&self, status: StatusCode) -> Option<Answer> {
        answer(status, self.render().ok()?, None)
    }
}

fn answer(status: StatusCode, text: String, target: Option<&str>) -> Option<Answer> {
    let policy = format!(
        "default-src 'none'; style-src {STYLE} {BUTTONS} {OWN_STYLE}; form-action 'self'{}{}; base-uri 'none'; frame-ancestors 'none'",
        target.map_or("", |_| " "),
        target.unwrap_or_default()
    );
    Some(page(status, text, HeaderValue::from_str(&policy).ok()?))
}

#[cfg(test)]
mod tests {
    use base64ct::{Base64, Encoding};
    use hyper::header::CONTENT_SECURITY_POLICY;
    use sha2::{Digest, Sha256};

    use super::*;

    fn consent() -> Consent<'static> {
        Consent {
            action: "/authorize/consent",
            client: "<script>alert(1)</script>".to_owned(),
            client_id: "https://app.test/\"><b>",
            origin: Origin::Published("<i>".to_owned()),
            place: Place::Host("app.test<u>".to_owned()),
            resources: vec!["https://mcp.test/<s>"],
            gets: vec!["<em>".to_owned()],
            name: "A \"B\"",
            login: "",
            device: "<laptop>",
            warning: String::new(),
            reason: "",
            form: "abc",
        }
    }

    fn check(answer: &Answer, text: &str) -> String {
        let policy = answer.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        let styles: Vec<_> =
            text.split("<style>").skip(1).map(|rest| rest.split_once("</style>").unwrap().0).collect();
        assert_eq!(styles.len(), 3);
        for style in styles {
            let hash = Base64::encode_string(&Sha256::digest(style.as_bytes()));
            assert!(policy.contains(&format!("'sha256-{hash}'")), "sha256-{hash}");
        }
        assert!(!policy.contains("script-src") && !policy.contains("unsafe"), "{policy}");
        assert!(
            policy.contains("frame-ancestors 'none'") && policy.contains("default-src 'none'"),
            "{policy}"
        );
        policy
    }

    #[test]
    fn the_policy_allows_exactly_its_styles_and_where_it_leads() {
        let (page, text) = (consent(), consent().render().unwrap());
        let policy = check(&page.answer(Some("https://app.test")).unwrap(), &text);
        assert!(policy.contains("; form-action 'self' https://app.test;"), "{policy}");
        assert!(page.answer(Some("a\nb")).is_none());
        let apps = Apps { action: "/consents", name: "<b>", apps: Vec::new(), more: false, done: "" };
        let policy = check(&apps.answer(StatusCode::OK).unwrap(), &apps.render().unwrap());
        assert!(policy.contains("; form-action 'self';"), "{policy}");
    }

    /// A11, A49: text only, no script, no autofocus, buttons that take no pointer for a second, and nothing that can break out.
    #[test]
    fn the_page_is_text_and_its_buttons_wait() {
        let text = consent().render().unwrap();
        for tag in ["<script", "<b>", "<i>", "<u>", "<s>", "<em>", "<laptop>", "autofocus", "onclick"] {
            assert!(!text.contains(tag), "{tag}: {text}");
        }
        assert!(text.contains("A &#34;B&#34;") && text.contains("https://app.test/&#34;&#62;&#60;b&#62;"));
        assert!(text.contains("pointer-events:none") && text.contains("1s step-end"));
        assert!(text.contains("id=\"allow\"") && text.contains("id=\"deny\""));
    }
}
