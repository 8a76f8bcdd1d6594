//! A minimal relying party: the parameters of a request, and the steps of a login one at a time.

use super::{
    daemon::{Daemon, SECRET},
    tailnet::Who,
    wire::{Reply, Request, form},
};

/// RFC 7636 appendix B.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// The resource that both clients may ask for.
pub(crate) const RESOURCE: &str = "https://mcp.test/mcp";

pub(crate) type Pairs<'a> = [(&'a str, &'a str)];

/// One application at the daemon. Changes given to a step replace parameters; an empty value takes one away.
#[derive(Clone, Copy)]
pub(crate) struct App<'d> {
    pub(crate) daemon: &'d Daemon,
    pub(crate) id: &'static str,
    pub(crate) secret: Option<&'static str>,
    pub(crate) redirect_uri: &'static str,
}

impl<'d> App<'d> {
    /// The public client `cli`.
    pub(crate) fn public(daemon: &'d Daemon) -> Self {
        Self { daemon, id: "cli", secret: None, redirect_uri: "http://127.0.0.1:8123/callback" }
    }

    /// The confidential client `web`.
    pub(crate) fn confidential(daemon: &'d Daemon) -> Self {
        Self { daemon, id: "web", secret: Some(SECRET), redirect_uri: "https://app.test/callback" }
    }

    /// The query of an authorization request.
    pub(crate) fn query(&self, changes: &Pairs) -> String {
        let base = [
            ("response_type", "code"),
            ("client_id", self.id),
            ("redirect_uri", self.redirect_uri),
            ("scope", "openid profile email groups"),
            ("state", "st4te"),
            ("nonce", "n0nce"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        form(&changed(&base, changes))
    }

    /// Visits `/authorize`.
    #[track_caller]
    pub(crate) fn authorize(&self, who: &Who, changes: &Pairs) -> Reply {
        self.daemon.send(who, Request::get(&format!("/authorize?{}", self.query(changes))))
    }

    /// Visits `/authorize` and returns the code.
    #[track_caller]
    pub(crate) fn code(&self, who: &Who, changes: &Pairs) -> String {
        self.authorize(who, changes).redirected("code")
    }

    /// The request that redeems a code.
    pub(crate) fn redemption(&self, code: &str, changes: &Pairs) -> Request {
        let base = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.redirect_uri),
            ("code_verifier", VERIFIER),
        ];
        self.token_request(&base, changes)
    }

    /// The request that shows a refresh token.
    pub(crate) fn renewal(&self, token: &str, changes: &Pairs) -> Request {
        self.token_request(&[("grant_type", "refresh_token"), ("refresh_token", token)], changes)
    }

    /// A request to `/token` with this client's authentication.
    pub(crate) fn token_request(&self, base: &Pairs, changes: &Pairs) -> Request {
        if let Some(secret) = self.secret {
            return Request::post("/token", &changed(base, changes)).basic(self.id, secret);
        }
        let base = [base, &[("client_id", self.id)]].concat();
        Request::post("/token", &changed(&base, changes))
    }

    #[track_caller]
    pub(crate) fn redeem(&self, who: &Who, code: &str, changes: &Pairs) -> Reply {
        self.daemon.send(who, self.redemption(code, changes))
    }

    #[track_caller]
    pub(crate) fn refresh(&self, who: &Who, token: &str, changes: &Pairs) -> Reply {
        self.daemon.send(who, self.renewal(token, changes))
    }

    /// A whole login with changes at authorization; the answer of `/token`.
    #[track_caller]
    pub(crate) fn login(&self, who: &Who, changes: &Pairs) -> Reply {
        let code = self.code(who, changes);
        let reply = self.redeem(who, &code, &[]);
        assert_eq!(reply.status, 200, "{}", reply.show());
        reply
    }

    #[track_caller]
    pub(crate) fn userinfo(&self, who: &Who, token: &str) -> Reply {
        self.daemon.send(who, Request::get("/userinfo").bearer(token))
    }
}

/// Replaces, adds and takes away parameters.
fn changed<'a>(base: &Pairs<'a>, changes: &Pairs<'a>) -> Vec<(&'a str, &'a str)> {
    let kept = base.iter().filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    let added = changes.iter().filter(|(_, value)| !value.is_empty());
    kept.chain(added).copied().collect()
}
