//! A browser as the suite drives one: a jar for cookies, redirects, and buttons that are found by their ids.

use std::collections::BTreeMap;

use crate::support::{ALICE, Daemon, Reply, Request, Who, wire};

use super::relying_party::ISSUER;

/// How an authorization response travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Query,
    FormPost,
}

/// More hops than any sign-in has.
const MOST_HOPS: usize = 8;

pub(crate) struct Browser<'d> {
    daemon: &'d Daemon,
    who: Who,
    cookies: BTreeMap<String, String>,
}

/// Where a visit ends.
pub(crate) enum Landed {
    /// At the relying party.
    Callback(Callback),
    /// At a page of ours.
    Page(Reply),
}

/// An authorization response as the relying party gets it.
#[derive(Debug)]
pub(crate) struct Callback {
    /// The URI that was called; by query without the parameters of the response.
    pub(crate) uri: String,
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) mode: Mode,
}

impl Callback {
    /// A parameter of the response, which stands at most once.
    #[track_caller]
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.parameters.iter().filter(|(known, _)| known == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} stands twice: {self:?}");
        value
    }
}

impl Landed {
    #[track_caller]
    pub(crate) fn callback(self) -> Callback {
        match self {
            Self::Callback(callback) => callback,
            Self::Page(page) => panic!("a page where the relying party was expected: {}", page.show()),
        }
    }

    #[track_caller]
    pub(crate) fn page(self) -> Reply {
        match self {
            Self::Page(page) => page,
            Self::Callback(callback) => panic!("no page, but {callback:?}"),
        }
    }
}

impl<'d> Browser<'d> {
    /// One without cookies: every module starts signed out.
    pub(crate) fn new(daemon: &'d Daemon) -> Self {
        Self { daemon, who: ALICE, cookies: BTreeMap::new() }
    }

    /// Comes from the relying party, as a click on its button does.
    #[track_caller]
    pub(crate) fn visit(&mut self, target: &str) -> Landed {
        self.go(Request::get(target).header("Sec-Fetch-Site", "cross-site"))
    }

    /// A form of the relying party.
    #[track_caller]
    pub(crate) fn post(&mut self, target: &str, fields: &[(&str, &str)]) -> Landed {
        let origin = "https://rp.oidf.test";
        self.go(Request::post(target, fields).header("Sec-Fetch-Site", "cross-site").header("Origin", origin))
    }

    /// Presses the button of this id on a page of ours.
    #[track_caller]
    pub(crate) fn press(&mut self, page: &Reply, button: &str) -> Landed {
        let html = page.text();
        let form = forms(&html).into_iter().find(|form| form.buttons.iter().any(|known| known.id == button));
        let form = form.unwrap_or_else(|| panic!("no button {button} on {html}"));
        let pressed = form.buttons.iter().find(|known| known.id == button).unwrap();
        let named = pressed.name.iter().map(|name| (name.clone(), pressed.value.clone()));
        let fields: Vec<_> = form.fields.iter().cloned().chain(named).collect();
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let target = path(&form.action).unwrap_or_else(|| panic!("the form leads away: {html}"));
        let request = if form.posts {
            Request::post(target, &fields).header("Origin", ISSUER)
        } else {
            Request::get(&format!("{target}?{}", wire::form(&fields)))
        };
        self.go(request.header("Sec-Fetch-Site", "same-origin"))
    }

    #[track_caller]
    fn go(&mut self, mut request: Request) -> Landed {
        for _ in 0..MOST_HOPS {
            let reply = self.send(request);
            let Some(location) = reply.header("location") else {
                return match posted(&reply) {
                    Some(callback) => Landed::Callback(callback),
                    // A stranger: the person allows it, once.
                    None if reply.text().contains("id=\"allow\"") => self.press(&reply, "allow"),
                    None => Landed::Page(reply),
                };
            };
            assert!([302, 303].contains(&reply.status), "{}", reply.show());
            match path(location) {
                Some(path) => request = Request::get(path).header("Sec-Fetch-Site", "cross-site"),
                None => return Landed::Callback(called(location)),
            }
        }
        panic!("more than {MOST_HOPS} redirects");
    }

    /// One request with what a browser adds to it.
    #[track_caller]
    fn send(&mut self, request: Request) -> Reply {
        let mut request = request.header("Sec-Fetch-Mode", "navigate").header("Sec-Fetch-Dest", "document");
        if !self.cookies.is_empty() {
            let pairs: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header("Cookie", &pairs.join("; "));
        }
        let reply = self.daemon.send(&self.who, request);
        for (_, cookie) in reply.headers.iter().filter(|(name, _)| name == "set-cookie") {
            self.keep(cookie);
        }
        reply
    }

    /// Keeps a cookie as a browser does; one that a browser would refuse fails the test (RFC 6265bis §4.1.3.2).
    #[track_caller]
    fn keep(&mut self, cookie: &str) {
        let mut parts = cookie.split("; ");
        let (name, value) = parts.next().unwrap().split_once('=').unwrap();
        let attributes: Vec<_> = parts.map(str::to_ascii_lowercase).collect();
        let has = |wanted: &str| attributes.iter().any(|known| known == wanted);
        assert!(name.starts_with("__Host-"), "{cookie}");
        assert!(has("secure") && has("httponly") && has("path=/"), "{cookie}");
        assert!(!attributes.iter().any(|known| known.starts_with("domain")), "{cookie}");
        if has("max-age=0") {
            self.cookies.remove(name);
        } else {
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
    }
}

/// The path and query of a URL of ours.
fn path(url: &str) -> Option<&str> {
    let path = url.strip_prefix(ISSUER).unwrap_or(url);
    path.starts_with('/').then_some(path)
}

/// A response by query: its parameters are those that the registered URI has not.
fn called(location: &str) -> Callback {
    assert!(!location.contains('#'), "a fragment: {location}");
    let (uri, query) = location.split_once('?').unwrap_or((location, ""));
    let (own, sent): (Vec<_>, Vec<_>) = url::form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .partition(|(name, _)| name.starts_with("dummy"));
    let own: Vec<_> = own.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let uri = if own.is_empty() { uri.to_owned() } else { format!("{uri}?{}", own.join("&")) };
    Callback { uri, parameters: sent, mode: Mode::Query }
}

/// A response by `form_post` (OAuth 2.0 Form Post Response Mode §2): a page with one form that leads to the relying party, and a
/// script that sends it.
fn posted(reply: &Reply) -> Option<Callback> {
    let html = reply.text();
    let mut forms = forms(&html);
    let away = forms.iter().any(|form| path(&form.action).is_none());
    if !away {
        return None;
    }
    assert_eq!((reply.status, forms.len()), (200, 1), "{html}");
    assert!(reply.header("content-type").unwrap().starts_with("text/html"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert!(html.contains("submit()"), "{html}");
    let form = forms.remove(0);
    assert!(form.posts, "{html}");
    Some(Callback { uri: form.action, parameters: form.fields, mode: Mode::FormPost })
}

/// A form of a page.
struct Form {
    action: String,
    posts: bool,
    fields: Vec<(String, String)>,
    buttons: Vec<Button>,
}

struct Button {
    id: String,
    name: Option<String>,
    value: String,
}

/// The forms of a page, read as plainly as the pages are written.
fn forms(html: &str) -> Vec<Form> {
    let mut forms: Vec<Form> = Vec::new();
    for tag in html.split('<').skip(1) {
        let (inside, _) = tag.split_once('>').unwrap_or((tag, ""));
        let (name, rest) = inside.split_once([' ', '\n']).unwrap_or((inside, ""));
        let attributes = attributes(rest);
        let text = |wanted: &str| attributes.get(wanted).cloned();
        if name == "form" {
            forms.push(Form {
                action: text("action").unwrap_or_default(),
                posts: text("method").is_some_and(|method| method.eq_ignore_ascii_case("post")),
                fields: Vec::new(),
                buttons: Vec::new(),
            });
        }
        let Some(form) = forms.last_mut() else { continue };
        match name {
            "input" => form.fields.extend(text("name").map(|name| (name, text("value").unwrap_or_default()))),
            "button" => form.buttons.push(Button {
                id: text("id").unwrap_or_default(),
                name: text("name"),
                value: text("value").unwrap_or_default(),
            }),
            _ => (),
        }
    }
    forms
}

/// The attributes of a tag, all in double quotes.
fn attributes(mut text: &str) -> BTreeMap<String, String> {
    let mut attributes = BTreeMap::new();
    while let Some((before, after)) = text.split_once("=\"") {
        let name = before.split_ascii_whitespace().next_back().unwrap_or_default();
        let (value, rest) = after.split_once('"').unwrap_or((after, ""));
        attributes.insert(name.to_ascii_lowercase(), unescaped(value));
        text = rest;
    }
    attributes
}

fn unescaped(text: &str) -> String {
    let pairs =
        [("&#38;", "&"), ("&#60;", "<"), ("&#62;", ">"), ("&#34;", "\""), ("&#39;", "'"), ("&amp;", "&")];
    pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}
