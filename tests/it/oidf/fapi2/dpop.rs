//! Proofs of possession.

use serde_json::{Value, json};

use super::{
    super::{checks, relying_party::Suite},
    party::{Binding, FIRST, Login, Tokens, proof, provider, request_uri, resource, resource_proof},
};
use crate::support::{
    Reply, Request,
    proof::{Prover, ath},
};

/// No proof at the token endpoint: refused.
#[test]
fn fapi2_security_profile_final_ensure_holder_of_key_required() {
    let suite = provider();
    for binding in [Binding::Proof, Binding::Jkt] {
        let login = Login::new(&suite, &FIRST, binding);
        let reply = login.redemption(&login.code()).proofs(&[]).send(&suite);
        checks::refused(&reply, &["invalid_request", "invalid_grant", "invalid_dpop_proof"]);
    }
}

/// `nbf` and `exp` in a proof do no harm, at `/par`, `/token` and the resource.
#[test]
fn fapi2_security_profile_final_check_dpop_proof_nbf_exp() {
    let suite = provider();
    let now = suite.now();
    everywhere(&suite, &json!({ "nbf": now, "exp": now + 300 }));
}

/// A proof of ten seconds ago: accepted, at `/par`, `/token` and the resource.
#[test]
fn fapi2_security_profile_final_ensure_dpopproof_with_iat_10seconds_before_succeeds() {
    let suite = provider();
    everywhere(&suite, &json!({ "iat": suite.now() - 10 }));
}

/// A proof from ten seconds ahead: accepted, at `/par`, `/token` and the resource.
#[test]
fn fapi2_security_profile_final_ensure_dpopproof_with_iat_10seconds_after_succeeds() {
    let suite = provider();
    everywhere(&suite, &json!({ "iat": suite.now() + 10 }));
}

/// A whole sign-in whose proofs have these claims.
#[track_caller]
fn everywhere(suite: &Suite, changes: &Value) {
    let login = Login::first(suite);
    let shown = |path| proof(suite, &login.key, "POST", path, changes);
    let push = login.push_request(&FIRST.assertion(suite, &json!({})));
    let push = push.without("DPoP").header("DPoP", &shown("/par"));
    let code = login.code_at(&login.target(&request_uri(&suite.send(push))));
    let reply = login.redemption(&code).proofs(&[shown("/token")]).send(suite);
    let tokens = login.tokens(&reply, login.parameters.get("nonce"));
    let proof = resource_proof(suite, &login.key, &tokens.access_token, changes);
    assert_eq!(resource(suite, &tokens.access_token, &proof).status, 200);
}

/// `dpop_jkt` names another key than the proof at `/par`: refused there.
#[test]
fn fapi2_security_profile_final_ensure_mismatched_dpop_jkt_fails() {
    let suite = provider();
    let push = Login::first(&suite).with("dpop_jkt", &Prover::new().jkt()).push();
    checks::refused(&push, &["invalid_dpop_proof", "invalid_request"]);
}

/// Another key at the token endpoint than that of the proof at `/par`: refused.
#[test]
fn fapi2_security_profile_final_ensure_token_endpoint_fails_with_mismatched_dpop_proof_jkt() {
    other_key_at_token(Binding::Proof);
}

/// Another key at the token endpoint than that of `dpop_jkt`: refused.
#[test]
fn fapi2_security_profile_final_ensure_token_endpoint_fails_with_mismatched_dpop_jkt() {
    other_key_at_token(Binding::Jkt);
}

#[track_caller]
fn other_key_at_token(binding: Binding) {
    let suite = provider();
    let login = Login::new(&suite, &FIRST, binding);
    let code = login.code();
    let other = proof(&suite, &Prover::new(), "POST", "/token", &json!({}));
    let reply = login.redemption(&code).proofs(&[other]).send(&suite);
    checks::refused(&reply, &["invalid_grant", "invalid_dpop_proof"]);
}

/// The key of the proof at `/par`, throughout.
#[test]
fn fapi2_security_profile_final_ensure_dpopproof_at_par_endpoint_binding_success() {
    let suite = provider();
    Login::new(&suite, &FIRST, Binding::Proof).sign_in();
}

/// The key of `dpop_jkt`, throughout; beside the proof at `/par`, too.
#[test]
fn fapi2_security_profile_final_ensure_dpop_auth_code_binding_success() {
    let suite = provider();
    Login::new(&suite, &FIRST, Binding::Jkt).sign_in();
    let login = Login::new(&suite, &FIRST, Binding::Proof);
    let jkt = login.key.jkt();
    login.with("dpop_jkt", &jkt).sign_in();
}

/// The name of the scheme in any case.
#[test]
fn fapi2_security_profile_final_access_token_type_header_case_sensitivity() {
    let suite = provider();
    let login = Login::first(&suite);
    let tokens = login.sign_in();
    for scheme in ["dpop", "DPoP", "DPOP"] {
        let proof = resource_proof(&suite, &login.key, &tokens.access_token, &json!({}));
        let request = Request::get("/userinfo").header("DPoP", &proof);
        let authorization = format!("{scheme} {}", tokens.access_token);
        let reply = suite.send(request.header("Authorization", &authorization));
        assert_eq!(reply.status, 200, "{scheme}: {}", reply.show());
    }
}

/// Bad proofs one by one, at the resource, at `/token` and at `/par`; and a good one after all of them.
#[test]
fn fapi2_security_profile_final_dpop_negative_tests() {
    let suite = provider();
    let login = Login::first(&suite);
    let tokens = login.sign_in();
    let at = Resource { suite: &suite, login: &login, tokens: &tokens };
    at.refuses_what_is_bad();
    at.refuses_other_headers();
    at.accepts_what_does_no_harm();
    endpoints_refuse(&login);
    let proof = resource_proof(&suite, &login.key, &tokens.access_token, &json!({}));
    assert_eq!(resource(&suite, &tokens.access_token, &proof).status, 200);
}

/// Changes to the header and to the claims of a proof for a method and a URL that make it bad, wherever it is shown.
pub(in crate::oidf) fn bad_proofs(now: i64) -> Vec<(&'static str, Value, Value)> {
    let stranger = Prover::new();
    let private = json!({ "kty": "EC", "crv": "P-256", "x": "x", "y": "y", "d": "d" });
    vec![
        ("no typ", json!({ "typ": null }), json!({})),
        ("no alg", json!({ "alg": null }), json!({})),
        ("no jwk", json!({ "jwk": null }), json!({})),
        ("another typ", json!({ "typ": "JWT" }), json!({})),
        ("alg none", json!({ "alg": "none" }), json!({})),
        ("alg RS256", json!({ "alg": "RS256" }), json!({})),
        ("the key of a stranger", json!({ "jwk": stranger.0.public_jwk() }), json!({})),
        ("a private key", json!({ "jwk": private }), json!({})),
        ("no jti", json!({}), json!({ "jti": null })),
        ("no htm", json!({}), json!({ "htm": null })),
        ("no htu", json!({}), json!({ "htu": null })),
        ("no iat", json!({}), json!({ "iat": null })),
        ("another htm", json!({}), json!({ "htm": "DELETE" })),
        ("another htu", json!({}), json!({ "htu": "https://idp.tail.test/introspect" })),
        ("another host", json!({}), json!({ "htu": "https://other.test/userinfo" })),
        ("an hour old", json!({}), json!({ "iat": now - 3_600 })),
        ("an hour ahead", json!({}), json!({ "iat": now + 3_600 })),
    ]
}

/// A refusal by the resource (RFC 9449 §7.1).
#[track_caller]
fn refused(name: &str, reply: &Reply) {
    assert!([400, 401].contains(&reply.status), "{name}: {}", reply.show());
    let challenge = reply.header("www-authenticate").unwrap_or_default();
    assert!(challenge.contains("DPoP"), "{name}: {}", reply.show());
}

/// The protected resource, for somebody with tokens.
struct Resource<'t> {
    suite: &'t Suite,
    login: &'t Login<'t>,
    tokens: &'t Tokens,
}

impl Resource<'_> {
    /// Calls it with a proof whose header and claims have changes.
    fn call(&self, header: &Value, claims: &Value) -> Reply {
        let mut all = json!({ "iat": self.suite.now(), "ath": ath(&self.tokens.access_token) });
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        let proof = self.login.key.proof_with("GET", "/userinfo", header, &all);
        resource(self.suite, &self.tokens.access_token, &proof)
    }

    #[track_caller]
    fn refuses_what_is_bad(&self) {
        for (name, header, claims) in bad_proofs(self.suite.now()) {
            refused(name, &self.call(&header, &claims));
        }
        refused("no ath", &self.call(&json!({}), &json!({ "ath": null })));
        refused("another ath", &self.call(&json!({}), &json!({ "ath": ath("another token") })));
        let once = json!({ "jti": "used-twice" });
        assert_eq!(self.call(&json!({}), &once).status, 200);
        refused("the same jti", &self.call(&json!({}), &once));
        // A good proof, but by another key than that of the token.
        let other = resource_proof(self.suite, &Prover::new(), &self.tokens.access_token, &json!({}));
        refused("another key", &resource(self.suite, &self.tokens.access_token, &other));
        let good = resource_proof(self.suite, &self.login.key, &self.tokens.access_token, &json!({}));
        let cut = good.rsplit_once('.').unwrap().0;
        for (name, proof) in [
            ("no JWT", "no.JWT.at-all".to_owned()),
            ("without a signature", format!("{cut}.")),
            ("another signature", format!("{cut}.{}", "A".repeat(86))),
        ] {
            refused(name, &resource(self.suite, &self.tokens.access_token, &proof));
        }
    }

    #[track_caller]
    fn refuses_other_headers(&self) {
        let token = &self.tokens.access_token;
        let proof = || resource_proof(self.suite, &self.login.key, token, &json!({}));
        let request =
            |scheme: &str| Request::get("/userinfo").header("Authorization", &format!("{scheme} {token}"));
        for (name, request) in [
            ("two proofs", request("DPoP").header("DPoP", &proof()).header("DPoP", &proof())),
            ("no proof", request("DPoP")),
            ("no proof, Bearer", request("Bearer")),
        ] {
            refused(name, &self.suite.send(request));
        }
    }

    #[track_caller]
    fn accepts_what_does_no_harm(&self) {
        let url = "https://idp.tail.test/userinfo";
        for (name, header, claims) in [
            ("htu with a query", json!({}), json!({ "htu": format!("{url}?query=1") })),
            ("htu with a fragment", json!({}), json!({ "htu": format!("{url}#fragment") })),
            ("scheme and host in capitals", json!({}), json!({ "htu": "HTTPS://IDP.Tail.Test/userinfo" })),
            ("the default port", json!({}), json!({ "htu": "https://idp.tail.test:443/userinfo" })),
            ("unknown members", json!({ "x-unknown": "y" }), json!({ "unknown": { "a": [1] } })),
        ] {
            let reply = self.call(&header, &claims);
            assert_eq!(reply.status, 200, "{name}: {}", reply.show());
        }
        let token = &self.tokens.access_token;
        let proof = || resource_proof(self.suite, &self.login.key, token, &json!({}));
        for (path, header) in [("/userinfo?query=1", "DPoP"), ("/userinfo", "DPOP"), ("/userinfo", "dpop")] {
            let request = Request::get(path).header("Authorization", &format!("DPoP {token}"));
            let reply = self.suite.send(request.header(header, &proof()));
            assert_eq!(reply.status, 200, "{path} {header}: {}", reply.show());
        }
    }
}

/// The same proofs at `/token` and at `/par`; a refused one costs nothing.
#[track_caller]
fn endpoints_refuse(login: &Login<'_>) {
    let suite = login.suite;
    let code = login.code();
    for (name, header, claims) in bad_proofs(suite.now()) {
        let bad = |path: &str| {
            let mut all = json!({ "iat": suite.now() });
            for (name, value) in claims.as_object().unwrap() {
                all[name] = value.clone();
            }
            login.key.proof_with("POST", path, &header, &all)
        };
        let at_token = login.redemption(&code).proofs(&[bad("/token")]).send(suite);
        let push = login.push_request(&FIRST.assertion(suite, &json!({}))).without("DPoP");
        let at_par = suite.send(push.header("DPoP", &bad("/par")));
        for reply in [at_token, at_par] {
            assert_eq!(
                (reply.status, &*reply.error()),
                (400, "invalid_dpop_proof"),
                "{name}: {}",
                reply.show()
            );
        }
    }
    let two = [login.proof("/token"), login.proof("/token")];
    checks::refused(
        &login.redemption(&code).proofs(&two).send(suite),
        &["invalid_dpop_proof", "invalid_request"],
    );
    login.finish(&code);
}
