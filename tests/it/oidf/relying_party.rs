//! The relying party of the suite: two clients with different credentials and a third, and sign-ins in which everything is
//! checked at every step.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tsidecar_oauth::jose::{Algorithm, ClientKey};

use crate::private_key_jwt::TYPE;
use crate::register::registration;
use crate::support::{Daemon, Reply, Request, Setup, tailnet::INTERNET, wire::form};

use super::{
    browser::{Browser, Callback, Landed, Mode},
    checks::{self, Expected, Response},
};

pub(crate) const ISSUER: &str = "https://idp.tail.test";

/// The four answers to `prompt=none` when somebody would have to do something (OpenID Connect Core §3.1.2.6).
pub(crate) const NOT_SILENTLY: [&str; 4] =
    ["login_required", "interaction_required", "consent_required", "account_selection_required"];

/// How a client proves itself at the token endpoint.
#[derive(Clone, Copy)]
pub(crate) enum Secret {
    Header,
    Body,
    /// By assertions that this key signs.
    Key(&'static ClientKey),
}

/// The variants of a plan.
#[derive(Clone, Copy)]
pub(crate) struct Variant {
    mode: Mode,
    clients: Clients,
}

/// `client_registration` of the suite.
#[derive(Clone, Copy)]
pub(crate) enum Clients {
    /// `static_client`.
    Static,
    /// `dynamic_client`.
    Registered,
}

impl Variant {
    pub(crate) const fn registered(mode: Mode) -> Self {
        Self { mode, clients: Clients::Registered }
    }
}

impl From<Mode> for Variant {
    fn from(mode: Mode) -> Self {
        Self { mode, clients: Clients::Static }
    }
}

/// What registered clients need that behave as the suite demands (reference/oauth.md 3.9). The suite registers from the internet.
pub(crate) const REGISTRATION: &str =
    "[registration]\nfunnel = true\nrequire_pkce = false\nlogin = \"session\"\nclaims_in_id_token = false\n";

/// A client of the suite.
#[derive(Clone, Copy)]
pub(crate) struct Client {
    pub(crate) id: &'static str,
    pub(crate) secret: &'static str,
    pub(crate) way: Secret,
    pub(crate) redirect_uri: &'static str,
}

pub(crate) const FIRST: Client = Client {
    id: "oidf-first",
    secret: "the-first-client-has-this-secret-and-no-other",
    way: Secret::Header,
    redirect_uri: "https://rp.oidf.test/callback",
};

/// Its redirect URI has a query of its own.
pub(crate) const SECOND: Client = Client {
    id: "oidf-second",
    secret: "another-secret-for-the-second-of-the-clients",
    way: Secret::Header,
    redirect_uri: "https://rp.oidf.test/callback?dummy1=lorem&dummy2=ipsum",
};

/// The one that sends its secret in the body.
pub(crate) const POSTING: Client = Client {
    id: "oidf-posting",
    secret: "a-third-secret-that-travels-in-the-body-of-forms",
    way: Secret::Body,
    redirect_uri: "https://rp.oidf.test/callback",
};

impl Client {
    /// Its entry in the configuration, as the suite demands (reference/oauth.md 3.9).
    fn entry(&self) -> String {
        let Self { id, redirect_uri, secret, .. } = self;
        let digest = format!("{:x}", Sha256::digest(secret));
        format!(
            r#"[[client]]
id = "{id}"
name = "A client of the suite"
secret_sha256 = "{digest}"
redirect_uris = ["{redirect_uri}"]
login = "session"
pkce = "optional"
claims_in_id_token = false
"#
        )
    }

    /// What it registers.
    fn metadata(&self) -> Value {
        let method = match self.way {
            Secret::Header => "client_secret_basic",
            Secret::Body => "client_secret_post",
            Secret::Key(_) => "private_key_jwt",
        };
        json!({
            "client_name": "A client of the suite",
            "redirect_uris": [self.redirect_uri],
            "token_endpoint_auth_method": method,
        })
    }

    /// A request to the token endpoint with this client's authentication.
    pub(crate) fn token_request(&self, fields: &[(&str, &str)], now: i64) -> Request {
        match self.way {
            Secret::Key(key) => {
                let claims = json!({
                    "iss": self.id, "sub": self.id, "aud": ISSUER, "jti": fresh("jti"), "iat": now, "exp": now + 60,
                });
                let header = json!({ "alg": key.algorithm().as_str(), "kid": kid_of(key) });
                let assertion = key.sign(&header, claims.to_string().as_bytes()).unwrap();
                let credentials = [("client_assertion_type", TYPE), ("client_assertion", assertion.as_str())];
                Request::post("/token", &[fields, &credentials].concat())
            }
            Secret::Header => Request::post("/token", fields).basic(self.id, self.secret),
            Secret::Body => {
                let credentials = [("client_id", self.id), ("client_secret", self.secret)];
                Request::post("/token", &[fields, &credentials].concat())
            }
        }
    }
}

/// The name of a client's key: the start of its modulus.
pub(crate) fn kid_of(key: &ClientKey) -> String {
    key.public_jwk()["n"].as_str().unwrap().chars().take(16).collect()
}

/// A provider with the clients of the suite, seen at one response mode.
pub(crate) struct Suite {
    pub(crate) daemon: Daemon,
    mode: Mode,
    /// Those that are registered, by the ids of those that a test names.
    registered: Vec<(&'static str, Client)>,
    /// How far the clock was moved, in seconds.
    moved: Cell<i64>,
}

impl Suite {
    pub(crate) fn new(variant: impl Into<Variant>) -> Self {
        let Variant { mode, clients } = variant.into();
        let all = [FIRST, SECOND, POSTING];
        match clients {
            Clients::Static => {
                let entries = all.map(|client| client.entry());
                Self::on(Setup::default().tables(&entries.concat()).start(), mode)
            }
            Clients::Registered => {
                let mut suite = Self::on(Setup::default().tables(REGISTRATION).start(), mode);
                for client in all {
                    let registered = suite.registered(client, &client.metadata());
                    if client.id == FIRST.id {
                        suite.approve(registered);
                    }
                    suite.registered.push((client.id, registered));
                }
                suite
            }
        }
    }

    /// Sends a registration request.
    #[track_caller]
    pub(crate) fn register(&self, metadata: &Value) -> Reply {
        self.send(registration(metadata))
    }

    /// Registers a client that behaves as another one. What the suite keeps of it, it keeps for the whole run.
    #[track_caller]
    pub(crate) fn registered(&self, like: Client, metadata: &Value) -> Client {
        let reply = self.register(metadata);
        assert_eq!(reply.status, 201, "{}", reply.show());
        let answer = checks::json(&reply);
        for (name, value) in metadata.as_object().unwrap() {
            assert_eq!(&answer[name], value, "{name}");
        }
        let keep =
            |name: &str| -> &'static str { answer[name].as_str().unwrap_or_default().to_owned().leak() };
        checks::secret("registration_access_token", keep("registration_access_token"));
        let is_secret = matches!(like.way, Secret::Header | Secret::Body);
        assert_eq!(answer.get("client_secret").is_some(), is_secret, "{answer}");
        let redirect_uri = answer["redirect_uris"][0].as_str().unwrap().to_owned().leak();
        Client { id: keep("client_id"), secret: keep("client_secret"), redirect_uri, ..like }
    }

    /// An administrator approves a client: nobody is sent back with an error to one that nobody has approved or allowed yet, and
    /// modules of Basic begin with such an error. The others are allowed by the person, once.
    #[track_caller]
    fn approve(&self, client: Client) {
        let output = self.daemon.run(&["client", "approve", client.id]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The client itself, or that which was registered in its place.
    fn actual(&self, client: Client) -> Client {
        let registered = self.registered.iter().find(|(id, _)| *id == client.id);
        registered.map_or(client, |(_, registered)| *registered)
    }

    pub(crate) fn on(daemon: Daemon, mode: Mode) -> Self {
        Self { daemon, mode, registered: Vec::new(), moved: Cell::new(0) }
    }

    pub(crate) fn browser(&self) -> Browser<'_> {
        Browser::new(&self.daemon)
    }

    /// Seconds since 1970 by the daemon's clock.
    pub(crate) fn now(&self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        i64::try_from(now).unwrap() + self.moved.get()
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, seconds: i64) {
        self.moved.set(self.moved.get() + seconds);
        self.daemon.at(self.moved.get());
    }

    /// A member of the metadata.
    pub(crate) fn metadata(&self, name: &str) -> Value {
        let target = "/.well-known/openid-configuration";
        self.send(Request::get(target)).json().get(name).cloned().unwrap_or_default()
    }

    /// Tells whether a list of the metadata names a value.
    pub(crate) fn advertises(&self, list: &str, value: &str) -> bool {
        self.metadata(list).as_array().is_some_and(|values| values.iter().any(|known| known == value))
    }

    pub(crate) fn key_set(&self) -> String {
        checks::key_set(&self.send(Request::get("/.well-known/jwks.json")))
    }

    /// A request by the relying party itself, which is somewhere in the internet.
    #[track_caller]
    pub(crate) fn send(&self, request: Request) -> Reply {
        self.daemon.send(&INTERNET, request)
    }

    /// A good authorization request, which a test changes.
    pub(crate) fn attempt(&self, client: Client) -> Attempt<'_> {
        let client = self.actual(client);
        let attempt = Attempt { suite: self, client, parameters: Parameters::default() }
            .with("response_type", "code")
            .with("client_id", client.id)
            .with("redirect_uri", client.redirect_uri)
            .with("scope", "openid")
            .with("state", &fresh("state"))
            .with("nonce", &fresh("nonce"));
        match self.mode {
            Mode::Query => attempt,
            Mode::FormPost => attempt.with("response_mode", "form_post"),
        }
    }

    /// Redeems a code.
    #[track_caller]
    pub(crate) fn redeem(&self, client: Client, code: &str, more: &[(&str, &str)]) -> Reply {
        let client = self.actual(client);
        let fields =
            [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", client.redirect_uri)];
        self.send(client.token_request(&[&fields, more].concat(), self.now()))
    }

    #[track_caller]
    pub(crate) fn refresh(&self, client: Client, token: &str, more: &[(&str, &str)]) -> Reply {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", token)];
        self.send(self.actual(client).token_request(&[&fields, more].concat(), self.now()))
    }

    #[track_caller]
    pub(crate) fn userinfo(&self, access_token: &str) -> Reply {
        self.send(Request::get("/userinfo").bearer(access_token))
    }
}

/// The parameters of a request.
#[derive(Clone, Default)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.0.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn pairs(&self) -> Vec<(&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }
}

/// Something that differs from test to test and from request to request.
pub(crate) fn fresh(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{what}{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// An authorization request.
#[derive(Clone)]
pub(crate) struct Attempt<'s> {
    suite: &'s Suite,
    pub(crate) client: Client,
    parameters: Parameters,
}

impl Attempt<'_> {
    /// Sets a parameter.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.parameters.set(name, value);
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.parameters.remove(name);
        self
    }

    /// The same parameters the other way round.
    pub(crate) fn reversed(mut self) -> Self {
        self.parameters.0.reverse();
        self
    }

    /// The parameters as an unsigned request object (OpenID Connect Core §6.1).
    pub(crate) fn unsigned(&self) -> String {
        let pairs = self.parameters.pairs().into_iter();
        let claims: Map<String, Value> =
            pairs.map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
        let part = |json: Value| Base64UrlUnpadded::encode_string(json.to_string().as_bytes());
        format!("{}.{}.", part(json!({ "alg": "none" })), part(claims.into()))
    }

    /// The parameters as a request object that this key signs (RFC 9101 §2).
    pub(crate) fn signed(&self, key: &ClientKey) -> String {
        let pairs = self.parameters.pairs().into_iter();
        let mut claims: Map<String, Value> =
            pairs.map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
        claims.insert("iss".to_owned(), self.client.id.into());
        claims.insert("aud".to_owned(), ISSUER.into());
        let header = json!({ "alg": key.algorithm().as_str(), "kid": kid_of(key) });
        key.sign(&header, Value::Object(claims).to_string().as_bytes()).unwrap()
    }

    /// The URL to which the relying party sends the browser.
    pub(crate) fn target(&self) -> String {
        format!("/authorize?{}", form(&self.parameters.pairs()))
    }

    /// Visits the authorization endpoint.
    #[track_caller]
    pub(crate) fn visit(&self, browser: &mut Browser<'_>) -> Landed {
        browser.visit(&self.target())
    }

    /// Visits it by POST.
    #[track_caller]
    pub(crate) fn post(&self, browser: &mut Browser<'_>) -> Landed {
        browser.post("/authorize", &self.parameters.pairs())
    }

    /// Signs in without a page on the way; everything is checked.
    #[track_caller]
    pub(crate) fn sign_in(&self, browser: &mut Browser<'_>) -> SignedIn {
        let landed = self.visit(browser);
        self.finish(landed)
    }

    /// Signs in with one page on the way, on which the person goes on.
    #[track_caller]
    pub(crate) fn sign_in_by_page(&self, browser: &mut Browser<'_>) -> SignedIn {
        let page = self.visit(browser).page();
        assert_eq!(page.status, 200, "{}", page.show());
        checks::our_page(&page);
        let html = page.text();
        assert!(html.contains("Continue") && html.contains("id=\"cancel\""), "{html}");
        let landed = browser.press(&page, "continue");
        self.finish(landed)
    }

    /// From the response on: code, tokens, claims.
    #[track_caller]
    pub(crate) fn finish(&self, landed: Landed) -> SignedIn {
        let code = self.code(&landed.callback());
        self.redeem(&code, &[])
    }

    /// Redeems a code and checks everything that comes.
    #[track_caller]
    pub(crate) fn redeem(&self, code: &str, more: &[(&str, &str)]) -> SignedIn {
        let reply = self.suite.redeem(self.client, code, more);
        let answer = checks::token_answer(&reply, "Bearer");
        SignedIn::check(self.suite, self.client, code, answer, self.parameters.get("nonce"))
    }

    /// The code of a response in which everything is right.
    #[track_caller]
    pub(crate) fn code(&self, callback: &Callback) -> String {
        self.response().code(callback)
    }

    /// A response that is one of these errors.
    #[track_caller]
    pub(crate) fn refused(&self, callback: &Callback, errors: &[&str]) {
        self.response().refused(callback, errors);
    }

    fn response(&self) -> Response<'_> {
        Response {
            redirect_uri: self.client.redirect_uri,
            mode: self.suite.mode,
            state: self.parameters.get("state"),
        }
    }
}

/// What a relying party has after a sign-in in which everything was right.
pub(crate) struct SignedIn {
    pub(crate) code: String,
    /// The answer of the token endpoint.
    pub(crate) answer: Value,
    /// The claims of the ID token.
    pub(crate) claims: Value,
    /// The claims of UserInfo.
    pub(crate) userinfo: Value,
}

impl SignedIn {
    #[track_caller]
    fn check(suite: &Suite, client: Client, code: &str, answer: Value, nonce: Option<&str>) -> Self {
        let text = |name: &str| answer[name].as_str().unwrap();
        let client = suite.actual(client);
        let expected = Expected {
            client: client.id,
            nonce,
            access_token: text("access_token"),
            algorithm: Algorithm::Rs256,
            now: suite.now(),
        };
        let claims = checks::id_token(text("id_token"), &suite.key_set(), &expected);
        let userinfo = checks::userinfo(&suite.userinfo(text("access_token")), &claims["sub"]);
        Self { code: code.to_owned(), answer, claims, userinfo }
    }

    /// Checks the answer of a refresh; what must stay the same as before stays so (OpenID Connect Core §12.2).
    #[track_caller]
    pub(crate) fn renewed(&self, suite: &Suite, client: Client, reply: &Reply) -> Self {
        let answer = checks::token_answer(reply, "Bearer");
        assert_ne!(answer["access_token"], self.answer["access_token"]);
        // A refreshed ID token has no nonce.
        let again = Self::check(suite, client, &self.code, answer, None);
        for name in ["iss", "sub", "aud", "auth_time"] {
            assert_eq!(again.claims[name], self.claims[name], "{name}");
        }
        assert!(again.claims["iat"].as_i64() >= self.claims["iat"].as_i64());
        again
    }

    pub(crate) fn token(&self, name: &str) -> &str {
        self.answer[name].as_str().unwrap()
    }

    pub(crate) fn auth_time(&self) -> i64 {
        self.claims["auth_time"].as_i64().unwrap()
    }
}
