//! The two clients of the plan, their keys, and a sign-in step by step.

use std::sync::LazyLock;

use serde_json::{Value, json};
use tsidecar_oauth::jose::{Algorithm, ClientKey, VerifyAlgorithm};

use crate::private_key_jwt::TYPE;
use crate::support::{
    CHALLENGE, Reply, Request, Setup, VERIFIER,
    proof::{Prover, ath, changed},
    wire::form,
};

use super::super::{
    browser::{Browser, Landed, Mode},
    checks::{self, Expected, Response},
    relying_party::{ISSUER, Parameters, Suite, fresh},
};

/// A client with keys: one that it signs with, and one for RS256, which the profile forbids.
pub(in crate::oidf) struct Client {
    pub(in crate::oidf) id: &'static str,
    pub(super) redirect_uri: &'static str,
    key: ClientKey,
    rs256: ClientKey,
}

/// Signs with ES256.
pub(in crate::oidf) static FIRST: LazyLock<Client> = LazyLock::new(|| Client {
    id: "fapi-first",
    redirect_uri: "https://rp.oidf.test/callback",
    key: ClientKey::generate(VerifyAlgorithm::Es256).unwrap(),
    rs256: ClientKey::generate(VerifyAlgorithm::Rs256).unwrap(),
});

/// Signs with PS256; its redirect URI has a query of its own.
pub(in crate::oidf) static SECOND: LazyLock<Client> = LazyLock::new(|| Client {
    id: "fapi-second",
    redirect_uri: "https://rp.oidf.test/callback?dummy1=lorem&dummy2=ipsum",
    key: ClientKey::generate(VerifyAlgorithm::Ps256).unwrap(),
    rs256: ClientKey::generate(VerifyAlgorithm::Rs256).unwrap(),
});

impl Client {
    /// Its entry in the configuration (reference/oauth.md 3.9).
    fn register(&self, setup: Setup) -> Setup {
        self.register_with(
            setup,
            &format!(
                r#"redirect_uris = ["{}"]
login = "confirm"
claims_in_id_token = false
pkce = "required"
require_pushed_authorization_requests = true
"#,
                self.redirect_uri
            ),
        )
    }

    /// Its entry for the plan without people.
    pub(in crate::oidf) fn register_for_itself(&self, setup: Setup) -> Setup {
        self.register_with(setup, "grant_types = [\"client_credentials\"]\n")
    }

    fn register_with(&self, setup: Setup, more: &str) -> Setup {
        let keys: Vec<_> = [("k1", &self.key), ("rs256", &self.rs256)]
            .into_iter()
            .map(|(kid, key)| changed(key.public_jwk().clone(), &json!({ "kid": kid })))
            .collect();
        let id = self.id;
        let file = format!("{id}.jwks.json");
        setup.file(&file, &json!({ "keys": keys }).to_string()).tables(&format!(
            r#"[[client]]
id = "{id}"
name = "A client of the suite"
jwks_file = "{{dir}}/{file}"
token_endpoint_auth_method = "private_key_jwt"
assertion_algs = ["PS256", "ES256", "EdDSA"]
id_token_signed_response_alg = "ES256"
dpop_bound_access_tokens = true
{more}"#
        ))
    }

    /// A good assertion but for these claims; `null` takes one away.
    pub(in crate::oidf) fn assertion(&self, suite: &Suite, changes: &Value) -> String {
        let header = json!({ "alg": self.key.algorithm().as_str(), "kid": "k1" });
        self.key.sign(&header, self.claims(suite, changes).to_string().as_bytes()).unwrap()
    }

    /// One by a registered key, with the algorithm that the profile forbids.
    pub(in crate::oidf) fn assertion_by_rs256(&self, suite: &Suite) -> String {
        let header = json!({ "alg": "RS256", "kid": "rs256" });
        self.rs256.sign(&header, self.claims(suite, &json!({})).to_string().as_bytes()).unwrap()
    }

    fn claims(&self, suite: &Suite, changes: &Value) -> Value {
        let now = suite.now();
        let claims = json!({
            "iss": self.id, "sub": self.id, "aud": ISSUER, "jti": fresh("assertion"),
            "iat": now, "nbf": now, "exp": now + 60,
        });
        changed(claims, changes)
    }
}

/// A provider with both clients.
pub(super) fn provider() -> Suite {
    Suite::on(SECOND.register(FIRST.register(Setup::default())).start(), Mode::Query)
}

/// Where the key of a sign-in is bound before the code is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Binding {
    /// By a proof at the pushed request.
    Proof,
    /// By `dpop_jkt`.
    Jkt,
}

/// One sign-in of a client, with a key of its own for proofs.
pub(super) struct Login<'s> {
    pub(super) suite: &'s Suite,
    pub(super) client: &'static Client,
    pub(super) key: Prover,
    pub(super) parameters: Parameters,
    binding: Binding,
}

impl<'s> Login<'s> {
    pub(super) fn new(suite: &'s Suite, client: &'static Client, binding: Binding) -> Self {
        let key = Prover::new();
        let mut parameters = Parameters::default();
        for (name, value) in [
            ("response_type", "code"),
            ("client_id", client.id),
            ("redirect_uri", client.redirect_uri),
            ("scope", "openid"),
            ("state", &*fresh("state")),
            ("nonce", &*fresh("nonce")),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ] {
            parameters.set(name, value);
        }
        if binding == Binding::Jkt {
            parameters.set("dpop_jkt", &key.jkt());
        }
        Self { suite, client, key, parameters, binding }
    }

    /// The sign-in of most modules.
    pub(super) fn first(suite: &'s Suite) -> Self {
        Self::new(suite, &FIRST, Binding::Proof)
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.parameters.set(name, value);
        self
    }

    pub(super) fn without(mut self, name: &str) -> Self {
        self.parameters.remove(name);
        self
    }

    /// The request that pushes, with this assertion.
    pub(super) fn push_request(&self, assertion: &str) -> Request {
        let proof = [("client_assertion_type", TYPE), ("client_assertion", assertion)];
        let request = Request::post("/par", &[&*self.parameters.pairs(), &proof].concat());
        match self.binding {
            Binding::Proof => request.header("DPoP", &self.proof("/par")),
            Binding::Jkt => request,
        }
    }

    #[track_caller]
    pub(super) fn push(&self) -> Reply {
        self.suite.send(self.push_request(&self.client.assertion(self.suite, &json!({}))))
    }

    /// Pushes the request; its `request_uri`, everything checked (RFC 9126 §2.2).
    #[track_caller]
    pub(super) fn pushed(&self) -> String {
        request_uri(&self.push())
    }

    /// Where the browser is sent: nothing but the two parameters that are needed.
    pub(super) fn target(&self, request_uri: &str) -> String {
        format!("/authorize?{}", form(&[("client_id", self.client.id), ("request_uri", request_uri)]))
    }

    /// From the visit on: the page, Continue, the code.
    #[track_caller]
    pub(super) fn code_at(&self, target: &str) -> String {
        let mut browser = self.suite.browser();
        let landed = browser.visit(target);
        self.response().code(&answer(&mut browser, landed, "continue").callback())
    }

    #[track_caller]
    pub(super) fn code(&self) -> String {
        self.code_at(&self.target(&self.pushed()))
    }

    pub(super) fn response(&self) -> Response<'_> {
        let state = self.parameters.get("state");
        Response { redirect_uri: self.client.redirect_uri, mode: Mode::Query, state }
    }

    /// What redeems a code; a test changes it.
    pub(super) fn redemption(&self, code: &str) -> Redemption {
        let mut fields = Parameters::default();
        for (name, value) in [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.client.redirect_uri),
            ("code_verifier", VERIFIER),
        ] {
            fields.set(name, value);
        }
        self.token_request(fields)
    }

    /// What shows a refresh token.
    pub(super) fn renewal(&self, token: &str) -> Redemption {
        let mut fields = Parameters::default();
        fields.set("grant_type", "refresh_token");
        fields.set("refresh_token", token);
        self.token_request(fields)
    }

    /// A good proof for an endpoint to which requests are posted.
    pub(super) fn proof(&self, path: &str) -> String {
        proof(self.suite, &self.key, "POST", path, &json!({}))
    }

    fn token_request(&self, mut fields: Parameters) -> Redemption {
        fields.set("client_assertion_type", TYPE);
        fields.set("client_assertion", &self.client.assertion(self.suite, &json!({})));
        Redemption { fields, proofs: vec![self.proof("/token")] }
    }

    #[track_caller]
    pub(super) fn redeem(&self, code: &str) -> Reply {
        self.redemption(code).send(self.suite)
    }

    /// Checks tokens and claims, and calls the resource.
    #[track_caller]
    pub(super) fn tokens(&self, reply: &Reply, nonce: Option<&str>) -> Tokens {
        let answer = checks::token_answer(reply, "DPoP");
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        let (access_token, refresh_token, id_token) =
            (text("access_token"), text("refresh_token"), text("id_token"));
        let expected = Expected {
            client: self.client.id,
            nonce,
            access_token: &access_token,
            algorithm: Algorithm::Es256,
            now: self.suite.now(),
        };
        let claims = checks::id_token(&id_token, &self.suite.key_set(), &expected);
        let proof = resource_proof(self.suite, &self.key, &access_token, &json!({}));
        let userinfo = checks::userinfo(&resource(self.suite, &access_token, &proof), &claims["sub"]);
        Tokens { access_token, refresh_token, claims, userinfo }
    }

    /// The whole sign-in.
    #[track_caller]
    pub(super) fn sign_in(&self) -> Tokens {
        let code = self.code();
        self.finish(&code)
    }

    #[track_caller]
    pub(super) fn finish(&self, code: &str) -> Tokens {
        self.tokens(&self.redeem(code), self.parameters.get("nonce"))
    }
}

/// Presses a button on the page that every sign-in shows.
#[track_caller]
pub(super) fn answer(browser: &mut Browser<'_>, landed: Landed, button: &str) -> Landed {
    let page = landed.page();
    assert_eq!(page.status, 200, "{}", page.show());
    checks::our_page(&page);
    browser.press(&page, button)
}

/// The `request_uri` of a pushed request, everything checked (RFC 9126 §2.2).
#[track_caller]
pub(super) fn request_uri(reply: &Reply) -> String {
    assert_eq!(reply.status, 201, "{}", reply.show());
    let answer = checks::json(reply);
    assert_eq!(answer.as_object().unwrap().len(), 2, "{answer}");
    assert!(answer["expires_in"].as_u64().is_some_and(|seconds| (5..=600).contains(&seconds)), "{answer}");
    let uri = answer["request_uri"].as_str().unwrap();
    checks::secret("request_uri", uri.strip_prefix("urn:ietf:params:oauth:request_uri:").unwrap());
    uri.to_owned()
}

/// UserInfo as the protected resource.
#[track_caller]
pub(super) fn resource(suite: &Suite, access_token: &str, proof: &str) -> Reply {
    let request = Request::get("/userinfo").header("Authorization", &format!("DPoP {access_token}"));
    suite.send(request.header("DPoP", proof))
}

/// A request to the token endpoint.
pub(in crate::oidf) struct Redemption {
    pub(in crate::oidf) fields: Parameters,
    /// The `DPoP` headers.
    pub(in crate::oidf) proofs: Vec<String>,
}

impl Redemption {
    pub(in crate::oidf) fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.set(name, value);
        self
    }

    pub(in crate::oidf) fn without(mut self, name: &str) -> Self {
        self.fields.remove(name);
        self
    }

    pub(in crate::oidf) fn proofs(mut self, proofs: &[String]) -> Self {
        self.proofs = proofs.to_vec();
        self
    }

    /// Sends it from the internet, where the applications of the plan are.
    #[track_caller]
    pub(in crate::oidf) fn send(&self, suite: &Suite) -> Reply {
        let request = Request::post("/token", &self.fields.pairs());
        let request = self.proofs.iter().fold(request, |request, proof| request.header("DPoP", proof));
        suite.send(request)
    }
}

/// What a client has after a sign-in in which everything was right.
pub(super) struct Tokens {
    pub(super) access_token: String,
    pub(super) refresh_token: String,
    pub(super) claims: Value,
    pub(super) userinfo: Value,
}

/// A good proof by the daemon's clock, but for these claims; `null` takes one away.
pub(in crate::oidf) fn proof(
    suite: &Suite,
    key: &Prover,
    method: &str,
    path: &str,
    changes: &Value,
) -> String {
    let mut claims = json!({ "iat": suite.now() });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    key.proof(method, path, &claims)
}

/// A good proof for the resource, but for these claims.
pub(super) fn resource_proof(suite: &Suite, key: &Prover, access_token: &str, changes: &Value) -> String {
    let mut claims = json!({ "ath": ath(access_token) });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    proof(suite, key, "GET", "/userinfo", &claims)
}
