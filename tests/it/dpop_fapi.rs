//! `DPoP` with pushed requests and `private_key_jwt`, as FAPI 2.0 has them together.
//!
//! The names of modules of the `OpenID` suite stand beside the cases (reference/oauth.md 3.7).

use insta::assert_snapshot;
use serde_json::{Value, json};
use tsidecar_oauth::jose::VerifyAlgorithm;

use crate::dpop::refused;
use crate::private_key_jwt::{Signer, TYPE};
use crate::support::proof::{Prover, now};
use crate::support::{ALICE, App, Daemon, Pairs, Request, Setup, wire::jwt};

/// RS256 where the profile forbids it: the client's assertions may not have it, so neither may its proofs.
#[test]
fn rs256_is_refused_where_assertions_may_not_have_it() {
    let signer = Signer::new("signer", VerifyAlgorithm::Ps256);
    let entry = "assertion_algs = [\"PS256\", \"ES256\", \"EdDSA\"]\ndpop_bound_access_tokens = true";
    let daemon = signer.register(Setup::default(), entry).start();
    let app = signer.app(&daemon);
    let ask = |key: &Prover, jti: &str| {
        let assertion = signer.assertion(jti);
        let request = [("client_assertion_type", TYPE), ("client_assertion", assertion.as_str())];
        daemon.send(&ALICE, key.prove(app.redemption(&app.code(&ALICE, &[]), &request), &json!({})))
    };
    refused(&ask(&Prover::with(VerifyAlgorithm::Rs256), "one"), "invalid_dpop_proof");
    assert_eq!(ask(&Prover::new(), "two").status, 200);
    // Both are shown once: which one was shown before is told apart.
    let key = Prover::new();
    let proof = key.proof("POST", "/token", &json!({}));
    let again = |jti: &str| {
        let assertion = signer.assertion(jti);
        let request = [("client_assertion_type", TYPE), ("client_assertion", assertion.as_str())];
        daemon.send(&ALICE, app.redemption(&app.code(&ALICE, &[]), &request).header("DPoP", &proof))
    };
    assert_eq!(again("three").status, 200);
    refused(&again("four"), "invalid_dpop_proof");
}

/// Libraries repeat the request with another proof and the same assertion.
#[test]
fn a_nonce_that_is_asked_for_uses_up_no_assertion() {
    let signer = Signer::new("signer", VerifyAlgorithm::Es256);
    let daemon = signer.register(Setup::default(), "").tables("[dpop]\nnonce = \"required\"").start();
    let (app, key) = (signer.app(&daemon), Prover::new());
    let assertion = signer.assertion("one");
    let changes = [("client_assertion_type", TYPE), ("client_assertion", assertion.as_str())];
    let request = app.redemption(&app.code(&ALICE, &[]), &changes);
    let told = daemon.send(&ALICE, key.prove(request.clone(), &json!({})));
    refused(&told, "use_dpop_nonce");
    let nonce = json!({ "nonce": told.header("dpop-nonce").unwrap() });
    assert_eq!(daemon.send(&ALICE, key.prove(request, &nonce)).status, 200);
}

/// The request that pushes, with a proof of a key for `/par`.
pub(crate) fn pushing(app: &App<'_>, key: &Prover, parameters: &Pairs, claims: &Value) -> Request {
    app.pushing(parameters).header("DPoP", &key.proof("POST", "/par", claims))
}

/// `ensure-dpopproof-at-par-endpoint-binding-success`, `ensure-mismatched-dpop-jkt-fails`,
/// `ensure-token-endpoint-fails-with-mismatched-dpop-proof-jkt`, and ±10 s at PAR.
#[test]
fn a_proof_at_par_binds_the_code() {
    let daemon = Daemon::new();
    let (app, key, other) = (App::confidential(&daemon), Prover::new(), Prover::new());
    let jkt = key.jkt();
    let mismatched = daemon.send(&ALICE, pushing(&app, &other, &[("dpop_jkt", &jkt)], &json!({})));
    assert_snapshot!(mismatched.show(), @r#"
    400
    access-control-allow-origin: *
    access-control-expose-headers: WWW-Authenticate, DPoP-Nonce, Retry-After
    cache-control: no-store
    content-type: application/json
    x-content-type-options: nosniff

    {
      "error": "invalid_dpop_proof",
      "error_description": "DPoP: dpop_jkt is not the key of the proof"
    }
    "#);
    for (parameters, claims) in [
        (Vec::new(), json!({})),
        (vec![("dpop_jkt", jkt.as_str())], json!({})),
        (Vec::new(), json!({ "iat": now() - 10 })),
        (Vec::new(), json!({ "iat": now() + 10 })),
    ] {
        let pushed = daemon.send(&ALICE, pushing(&app, &key, &parameters, &claims));
        assert_eq!(pushed.status, 201, "{parameters:?} {claims}: {}", pushed.show());
        let code = app.visit(&pushed.member("request_uri"), &[]).redirected("code");
        refused(&app.redeem(&ALICE, &code, &[]), "invalid_dpop_proof");
        refused(&daemon.send(&ALICE, other.prove(app.redemption(&code, &[]), &json!({}))), "invalid_grant");
        let redeemed = daemon.send(&ALICE, key.prove(app.redemption(&code, &[]), &json!({})));
        assert_eq!(redeemed.member("token_type"), "DPoP");
    }
    // `dpop_jkt` alone binds, too.
    let code = app.visit(&app.push(&[("dpop_jkt", &jkt)]), &[]).redirected("code");
    refused(&daemon.send(&ALICE, other.prove(app.redemption(&code, &[]), &json!({}))), "invalid_grant");
}

/// RFC 9449 §8 at PAR: the nonce that is offered there is good at the other endpoints.
#[test]
fn nonces_at_par() {
    let daemon = Setup::default().tables("[dpop]\nnonce = \"required\"").start();
    let (app, key) = (App::confidential(&daemon), Prover::new());
    let told = daemon.send(&ALICE, pushing(&app, &key, &[], &json!({})));
    refused(&told, "use_dpop_nonce");
    let nonce = json!({ "nonce": told.header("dpop-nonce").unwrap() });
    let pushed = daemon.send(&ALICE, pushing(&app, &key, &[], &nonce));
    assert_eq!((pushed.status, pushed.header("dpop-nonce").is_some()), (201, true), "{}", pushed.show());
    let code = app.visit(&pushed.member("request_uri"), &[]).redirected("code");
    assert_eq!(daemon.send(&ALICE, key.prove(app.redemption(&code, &[]), &nonce)).status, 200);
}

/// `happy-flow` of FAPI 2.0: pushed with a proof, signed with ES256 throughout, redeemed with a fresh proof, userinfo.
#[test]
fn fapi2_happy_flow() {
    let signer = Signer::new("signer", VerifyAlgorithm::Es256);
    let entry = r#"assertion_algs = ["PS256", "ES256", "EdDSA"]
id_token_signed_response_alg = "ES256"
require_pushed_authorization_requests = true
dpop_bound_access_tokens = true
pkce = "required""#;
    let daemon = signer.register(Setup::default(), entry).start();
    let (app, key) = (signer.app(&daemon), Prover::new());
    let with = |jti: &str, make: &dyn Fn(&Pairs) -> Request| {
        let assertion = signer.assertion(jti);
        make(&[("client_assertion_type", TYPE), ("client_assertion", assertion.as_str())])
    };
    let push = |jti: &str| {
        let request = with(jti, &|changes| app.pushing(changes));
        daemon
            .send(&ALICE, request.header("DPoP", &key.proof("POST", "/par", &json!({}))))
            .member("request_uri")
    };
    let code = app.visit(&push("one"), &[]).redirected("code");
    // `ensure-holder-of-key-required`.
    refused(
        &daemon.send(&ALICE, with("two", &|changes| app.redemption(&code, changes))),
        "invalid_dpop_proof",
    );
    let request = with("three", &|changes| app.redemption(&code, changes));
    let reply = daemon.send(&ALICE, key.prove(request, &json!({})));
    assert_eq!(reply.member("token_type"), "DPoP", "{}", reply.show());
    let header = jwt(&reply.member("id_token")).0;
    assert_eq!((&header["alg"], header["kid"].is_string()), (&json!("ES256"), true));
    let userinfo = daemon.send(&ALICE, key.userinfo(&reply.member("access_token"), &json!({})));
    assert_eq!(userinfo.status, 200);
    // `refresh-token`: with a new key, and the previous token again after 30 s.
    let renew = |jti: &str, claims: &Value| {
        let token = reply.member("refresh_token");
        let request = with(jti, &|changes| app.renewal(&token, changes));
        daemon.send(&ALICE, Prover::new().prove(request, claims))
    };
    assert_eq!(renew("four", &json!({})).member("token_type"), "DPoP");
    daemon.at(30);
    assert_eq!(renew("five", &json!({ "iat": now() + 30 })).member("token_type"), "DPoP");
    assert_eq!(app.refresh(&ALICE, &reply.member("refresh_token"), &[]).error(), "invalid_client");
}
