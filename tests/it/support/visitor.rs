//! A person's browser at the daemon: it keeps our cookie, and presses the buttons of our pages.

use super::{App, Pairs, Reply, Request, Who, wire::form};

/// The origin of our pages.
pub(crate) const ORIGIN: &str = "https://idp.tail.test";

/// A browser with a jar for the one cookie.
pub(crate) struct Visitor<'d> {
    pub(crate) app: App<'d>,
    pub(crate) who: Who,
    /// The value of the cookie, if there is one.
    pub(crate) cookie: Option<String>,
}

impl<'d> Visitor<'d> {
    pub(crate) fn new(app: App<'d>, who: &Who) -> Self {
        Self { app, who: *who, cookie: None }
    }

    /// Sends a request with the cookie, and keeps what comes back.
    #[track_caller]
    pub(crate) fn send(&mut self, mut request: Request) -> Reply {
        if let Some(cookie) = &self.cookie {
            request = request.header("Cookie", &format!("__Host-tsidecar-session={cookie}"));
        }
        let reply = self.app.daemon.send(&self.who, request);
        if let Some(set) = reply.header("set-cookie") {
            let (value, attributes) =
                set.strip_prefix("__Host-tsidecar-session=").unwrap().split_once(';').unwrap();
            assert!(attributes.ends_with("Path=/; Secure; HttpOnly; SameSite=Lax"), "{attributes}");
            self.cookie = (!attributes.contains("Max-Age=0;")).then(|| value.to_owned());
        }
        reply
    }

    /// Visits `/authorize`.
    #[track_caller]
    pub(crate) fn authorize(&mut self, changes: &Pairs) -> Reply {
        self.send(Request::get(&format!("/authorize?{}", self.app.query(changes))))
    }

    /// Presses a button of a page.
    #[track_caller]
    pub(crate) fn press(&mut self, page: &Reply, decision: &str) -> Reply {
        self.send(answer(&form_token(page), decision))
    }

    /// Visits `/authorize` and presses *Continue* on the page that must come.
    #[track_caller]
    pub(crate) fn confirm(&mut self, changes: &Pairs) -> Reply {
        let page = self.authorize(changes);
        self.press(&page, "continue")
    }

    /// Sends the answer to a page as everybody does who is no page of ours (attacks A23 and A49): nothing comes of it.
    #[track_caller]
    pub(crate) fn is_believed_from_nowhere_else(&mut self, answer: &Request) {
        let (site, origin) = ("Sec-Fetch-Site", "Origin");
        for foreign in [
            &[][..],
            &[(origin, "null")],
            &[(origin, "https://evil.test")],
            &[(origin, "https://other.tail.test"), (site, "same-site")],
            &[(site, "cross-site")],
            &[(site, "same-site"), (origin, ORIGIN)],
            &[(site, "none")],
            &[(site, "same-origin"), (origin, "null")],
        ] {
            let reply = self.send(sent_by(answer, foreign));
            assert_eq!(reply.status, 403, "{foreign:?}: {}", reply.show());
            assert!(reply.text().contains("This answer did not come from our page"), "{foreign:?}");
            assert_eq!((reply.header("location"), reply.header("set-cookie")), (None, None));
        }
    }

    /// The claims of the ID token for a code that a redirect carries.
    #[track_caller]
    pub(crate) fn claims(&self, reply: &Reply) -> serde_json::Value {
        let code = reply.redirected("code");
        super::wire::jwt(&self.app.redeem(&self.who, &code, &[]).member("id_token")).1
    }
}

/// The token of the form of a page.
#[track_caller]
pub(crate) fn form_token(page: &Reply) -> String {
    let text = page.text();
    let found = text.split_once("name=\"form\" value=\"").and_then(|(_, rest)| rest.split_once('"'));
    assert!(page.status == 200 && found.is_some(), "no page that asks: {}", page.show());
    found.unwrap().0.to_owned()
}

/// A request with these headers in place of those by which a browser says where it came from.
pub(crate) fn sent_by(request: &Request, headers: &[(&str, &str)]) -> Request {
    let mut request = request.clone();
    for name in ["Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest"] {
        request = request.without(name);
    }
    headers.iter().fold(request, |request, (name, value)| request.header(name, value))
}

/// What a browser sends when a button is pressed.
pub(crate) fn answer(token: &str, decision: &str) -> Request {
    let mut request = Request::new("POST", "/authorize/continue")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("Origin", ORIGIN)
        .header("Sec-Fetch-Site", "same-origin")
        .header("Sec-Fetch-Mode", "navigate")
        .header("Sec-Fetch-Dest", "document");
    request.body = form(&[("form", token), ("decision", decision)]).into_bytes();
    request
}
