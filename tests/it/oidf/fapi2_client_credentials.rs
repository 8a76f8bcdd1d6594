//! `fapi2-security-profile-final-test-plan` with `private_key_jwt`, `dpop` and `fapi_client_credentials_grant`: clients for themselves.
//!
//! The protected resource is one of our own that asks `/introspect` and checks the proof by RFC 9449 §7.1: UserInfo is for people.

use std::cell::RefCell;

use serde_json::{Value, json};
use tsidecar_oauth::dpop::{DpopProof, Expected, NonceRule, ServerNonces};
use tsidecar_oauth::jose::VerifyAlgorithm;
use tsidecar_oauth::mark::Mark;
use tsidecar_oauth::time::UnixTime;

use super::{
    browser::Mode,
    checks,
    fapi2::{
        dpop::bad_proofs,
        party::{Client, FIRST, Redemption, SECOND, proof},
    },
    relying_party::{ISSUER, Parameters, Suite},
};
use crate::private_key_jwt::TYPE;
use crate::support::{
    Reply, Request, Setup,
    daemon::{SECRET, secret_digest},
    proof::{Prover, ath},
    wire::jwt,
};

const RESOURCE: &str = "https://api.oidf.test/data";

fn provider() -> Suite {
    let digest = secret_digest();
    let tables = format!(
        r#"[[client]]
id = "api"
name = "The protected resource"
secret_sha256 = "{digest}"
grant_types = ["client_credentials"]
[[resource]]
uri = "{RESOURCE}"
scopes = ["data"]
clients = ["fapi-first", "fapi-second"]
servers = ["api"]
signing_alg = "ES256"
"#
    );
    let clients = SECOND.register_for_itself(FIRST.register_for_itself(Setup::default()));
    Suite::on(clients.tables(&tables).start(), Mode::Query)
}

/// A client that asks for itself, with a key for proofs.
struct Asking<'s> {
    suite: &'s Suite,
    client: &'static Client,
    key: Prover,
}

impl<'s> Asking<'s> {
    fn new(suite: &'s Suite, client: &'static Client) -> Self {
        Self { suite, client, key: Prover::new() }
    }

    /// A good request, which a test changes.
    fn request(&self) -> Redemption {
        let mut fields = Parameters::default();
        for (name, value) in [
            ("grant_type", "client_credentials"),
            ("resource", RESOURCE),
            ("scope", "data"),
            ("client_assertion_type", TYPE),
            ("client_assertion", &self.client.assertion(self.suite, &json!({}))),
        ] {
            fields.set(name, value);
        }
        Redemption { fields, proofs: vec![self.proof(&json!({}))] }
    }

    /// A good proof for the token endpoint, but for these claims.
    fn proof(&self, changes: &Value) -> String {
        proof(self.suite, &self.key, "POST", "/token", changes)
    }

    /// A good proof for the resource, but for these parts.
    fn shown(&self, token: &str, header: &Value, changes: &Value) -> String {
        let mut claims = json!({ "iat": self.suite.now(), "htu": RESOURCE, "ath": ath(token) });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.key.proof_with("GET", "/", header, &claims)
    }

    /// Checks an answer (RFC 6749 §4.4.3): no refresh token, no ID token.
    #[track_caller]
    fn token(&self, reply: &Reply) -> String {
        assert_eq!(reply.status, 200, "{}", reply.show());
        let answer = checks::json(reply);
        let token = answer["access_token"].as_str().unwrap().to_owned();
        checks::secret("access_token", &token);
        let expected =
            json!({ "access_token": token, "token_type": "DPoP", "expires_in": 600, "scope": "data" });
        assert_eq!(answer, expected);
        let (header, claims) = jwt(&token);
        assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!("ES256")));
        for (name, value) in [
            ("iss", ISSUER),
            ("sub", self.client.id),
            ("client_id", self.client.id),
            ("aud", RESOURCE),
            ("scope", "data"),
        ] {
            assert_eq!(claims[name], value, "{claims}");
        }
        assert_eq!(claims["cnf"], json!({ "jkt": self.key.jkt() }));
        token
    }

    /// Everything, and the resource called.
    #[track_caller]
    fn finish(&self) -> String {
        let token = self.token(&self.request().send(self.suite));
        let good = self.shown(&token, &json!({}), &json!({}));
        Api::new(self.suite).call("DPoP", &token, &[good]).unwrap();
        token
    }
}

/// The protected resource.
struct Api<'s> {
    suite: &'s Suite,
    seen: RefCell<Vec<Mark>>,
}

impl<'s> Api<'s> {
    fn new(suite: &'s Suite) -> Self {
        Self { suite, seen: RefCell::default() }
    }

    /// Answers a request with this token and these `DPoP` headers; the error says why not.
    fn call(&self, scheme: &str, token: &str, proofs: &[String]) -> Result<Value, String> {
        let [proof] = proofs else { return Err(format!("{} proofs", proofs.len())) };
        if !scheme.eq_ignore_ascii_case("DPoP") {
            return Err("a bound token without its scheme".to_owned());
        }
        let question = Request::post("/introspect", &[("token", token)]).basic("api", SECRET);
        let told = checks::json(&self.suite.send(question));
        if told["active"] != true || told["token_type"] != "DPoP" {
            return Err(format!("the token: {told}"));
        }
        let now = UnixTime::from_secs(self.suite.now().unsigned_abs());
        let expected = Expected {
            method: "GET",
            url: RESOURCE,
            access_token: Some(token),
            algorithms: &VerifyAlgorithm::FAPI,
            nonce: NonceRule::Optional,
            nonces: &ServerNonces::new(|_| [0; 32], now),
            now,
        };
        let proven = DpopProof::check(proof, &expected).map_err(|error| error.to_string())?;
        if told["cnf"]["jkt"] != proven.jkt().to_string() {
            return Err("another key".to_owned());
        }
        if self.seen.borrow().contains(&proven.mark()) {
            return Err("the same proof again".to_owned());
        }
        self.seen.borrow_mut().push(proven.mark());
        Ok(told)
    }
}

/// `client_credentials`, `private_key_jwt`, and PS256, ES256 or EdDSA for assertions and proofs.
#[test]
fn fapi2_security_profile_final_discovery_end_point_verification() {
    let suite = provider();
    let metadata = checks::metadata(&suite);
    let names = |list: &str, wanted: &[&str]| {
        let values = metadata[list].as_array().unwrap_or_else(|| panic!("no {list}"));
        assert!(wanted.iter().any(|wanted| values.iter().any(|known| known == wanted)), "{list}: {values:?}");
    };
    let good = ["PS256", "ES256", "EdDSA", "Ed25519"];
    names("token_endpoint_auth_signing_alg_values_supported", &good);
    names("dpop_signing_alg_values_supported", &good);
    names("token_endpoint_auth_methods_supported", &["private_key_jwt"]);
    names("grant_types_supported", &["client_credentials"]);
    assert_eq!(metadata["token_endpoint"], "https://idp.tail.test/token");
    suite.key_set();
}

/// Both clients, each with a token of its own.
#[test]
fn fapi2_security_profile_final_happy_flow() {
    let suite = provider();
    let tokens = [&*FIRST, &*SECOND].map(|client| Asking::new(&suite, client).finish());
    assert_ne!(tokens[0], tokens[1]);
}

/// The body names another client than the assertion.
#[test]
fn fapi2_security_profile_final_ensure_client_id_in_token_endpoint() {
    let suite = provider();
    let asking = Asking::new(&suite, &FIRST);
    let reply = asking.request().with("client_id", SECOND.id).send(&suite);
    checks::refused(&reply, &["invalid_client", "invalid_request"]);
    asking.token(&asking.request().with("client_id", FIRST.id).send(&suite));
}

/// No proof at the token endpoint: refused.
#[test]
fn fapi2_security_profile_final_ensure_holder_of_key_required() {
    let suite = provider();
    let reply = Asking::new(&suite, &FIRST).request().proofs(&[]).send(&suite);
    checks::refused(&reply, &["invalid_request", "invalid_grant", "invalid_dpop_proof"]);
}

/// An assertion signed with RS256 by a registered key: refused.
#[test]
fn fapi2_security_profile_final_ensure_signed_client_assertion_with_rs256_fails() {
    let suite = provider();
    let assertion = FIRST.assertion_by_rs256(&suite);
    let request = Asking::new(&suite, &FIRST).request().with("client_assertion", &assertion);
    checks::refused(&request.send(&suite), &["invalid_client"]);
}

/// No assertion at all: refused.
#[test]
fn fapi2_security_profile_final_ensure_client_assertion_in_token_endpoint() {
    let suite = provider();
    let bare =
        Asking::new(&suite, &FIRST).request().without("client_assertion").without("client_assertion_type");
    checks::refused(&bare.send(&suite), &["invalid_client", "invalid_request"]);
    let named = bare.with("client_id", FIRST.id);
    checks::refused(&named.send(&suite), &["invalid_client", "invalid_request"]);
}

/// `exp` five minutes ago: refused.
#[test]
fn fapi2_security_profile_final_ensure_client_assertion_with_exp_is_5_minutes_in_past_fails() {
    let suite = provider();
    let exp = suite.now() - 300;
    assertion_fails(&suite, &json!({ "exp": exp, "iat": exp - 60, "nbf": exp - 60 }));
}

/// `aud` is somebody else: refused.
#[test]
fn fapi2_security_profile_final_ensure_client_assertion_with_wrong_aud_fails() {
    assertion_fails(&provider(), &json!({ "aud": "https://other.test" }));
}

/// No `sub`: refused.
#[test]
fn fapi2_security_profile_final_ensure_client_assertion_with_no_sub_fails() {
    assertion_fails(&provider(), &json!({ "sub": null }));
}

#[track_caller]
fn assertion_fails(suite: &Suite, changes: &Value) {
    let asking = Asking::new(suite, &FIRST);
    let bad = FIRST.assertion(suite, changes);
    let reply = asking.request().with("client_assertion", &bad).send(suite);
    checks::refused(&reply, &["invalid_client"]);
    asking.finish();
}

/// `nbf` and `exp` in a proof do no harm.
#[test]
fn fapi2_security_profile_final_check_dpop_proof_nbf_exp() {
    let suite = provider();
    let now = suite.now();
    everywhere(&suite, &json!({ "nbf": now, "exp": now + 300 }));
}

/// A proof of ten seconds ago: accepted, at the token endpoint and the resource.
#[test]
fn fapi2_security_profile_final_ensure_dpopproof_with_iat_10seconds_before_succeeds() {
    let suite = provider();
    everywhere(&suite, &json!({ "iat": suite.now() - 10 }));
}

/// A proof from ten seconds ahead: accepted, at the token endpoint and the resource.
#[test]
fn fapi2_security_profile_final_ensure_dpopproof_with_iat_10seconds_after_succeeds() {
    let suite = provider();
    everywhere(&suite, &json!({ "iat": suite.now() + 10 }));
}

/// Proofs with these claims, at the token endpoint and the resource.
#[track_caller]
fn everywhere(suite: &Suite, changes: &Value) {
    let asking = Asking::new(suite, &FIRST);
    let token = asking.token(&asking.request().proofs(&[asking.proof(changes)]).send(suite));
    let shown = asking.shown(&token, &json!({}), changes);
    Api::new(suite).call("DPoP", &token, &[shown]).unwrap();
}

/// Bad proofs one by one, at the token endpoint and at the resource; and good ones after all of them.
#[test]
fn fapi2_security_profile_final_dpop_negative_tests() {
    let suite = provider();
    let asking = Asking::new(&suite, &FIRST);
    let (token, api) = (asking.finish(), Api::new(&suite));
    let (plain, now) = (json!({}), suite.now());
    for (name, header, claims) in bad_proofs(now) {
        let mut all = json!({ "iat": now });
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        let bad = asking.key.proof_with("POST", "/token", &header, &all);
        let reply = asking.request().proofs(&[bad]).send(&suite);
        assert_eq!((reply.status, &*reply.error()), (400, "invalid_dpop_proof"), "{name}: {}", reply.show());
        api.call("DPoP", &token, &[asking.shown(&token, &header, &claims)]).expect_err(name);
    }
    let two = [asking.proof(&plain), asking.proof(&plain)];
    checks::refused(&asking.request().proofs(&two).send(&suite), &["invalid_dpop_proof", "invalid_request"]);
    let again = asking.proof(&plain);
    asking.token(&asking.request().proofs(std::slice::from_ref(&again)).send(&suite));
    checks::refused(&asking.request().proofs(&[again]).send(&suite), &["invalid_dpop_proof"]);
    let good = || asking.shown(&token, &plain, &plain);
    let once = good();
    api.call("DPoP", &token, std::slice::from_ref(&once)).unwrap();
    for (name, scheme, proofs) in [
        ("the same jti", "DPoP", vec![once]),
        ("no ath", "DPoP", vec![asking.shown(&token, &plain, &json!({ "ath": null }))]),
        ("another ath", "DPoP", vec![asking.shown(&token, &plain, &json!({ "ath": ath("another") }))]),
        ("another key", "DPoP", vec![Asking::new(&suite, &FIRST).shown(&token, &plain, &plain)]),
        ("two proofs", "DPoP", vec![good(), good()]),
        ("no proof", "DPoP", Vec::new()),
        ("no proof, Bearer", "Bearer", Vec::new()),
        ("Bearer", "Bearer", vec![good()]),
        ("no JWT", "DPoP", vec!["no.JWT.at-all".to_owned()]),
    ] {
        api.call(scheme, &token, &proofs).expect_err(name);
    }
    for (name, header, claims) in [
        ("htu with a query", plain.clone(), json!({ "htu": format!("{RESOURCE}?query=1") })),
        ("scheme and host in capitals", plain.clone(), json!({ "htu": "HTTPS://API.oidf.test/data" })),
        ("the default port", plain.clone(), json!({ "htu": "https://api.oidf.test:443/data" })),
        ("unknown members", json!({ "x-unknown": "y" }), json!({ "unknown": { "a": [1] } })),
    ] {
        let told = api.call("DPoP", &token, &[asking.shown(&token, &header, &claims)]);
        assert!(told.is_ok(), "{name}: {told:?}");
    }
    api.call("DPoP", &token, &[good()]).unwrap();
    asking.finish();
}

/// The name of the scheme in any case.
#[test]
fn fapi2_security_profile_final_access_token_type_header_case_sensitivity() {
    let suite = provider();
    let asking = Asking::new(&suite, &FIRST);
    let (token, api) = (asking.finish(), Api::new(&suite));
    for scheme in ["dpop", "DPoP", "DPOP"] {
        let good = asking.shown(&token, &json!({}), &json!({}));
        let told = api.call(scheme, &token, &[good]).unwrap();
        assert_eq!(told["sub"], FIRST.id, "{scheme}");
    }
}
