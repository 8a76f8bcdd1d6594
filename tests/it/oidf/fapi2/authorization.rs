//! The way through the browser: what is asked, what comes back, what the person says.

use serde_json::json;

use super::{
    super::checks,
    party::{Binding, FIRST, Login, SECOND, answer, provider},
};

/// PS256, ES256, EdDSA for ID tokens, assertions and proofs; `private_key_jwt`, PAR, S256, `iss`.
#[test]
fn fapi2_security_profile_final_discovery_end_point_verification() {
    let suite = provider();
    let metadata = checks::metadata(&suite);
    let names = |list: &str, wanted: &[&str]| {
        let values = metadata[list].as_array().unwrap_or_else(|| panic!("no {list}"));
        assert!(wanted.iter().any(|wanted| values.iter().any(|known| known == wanted)), "{list}: {values:?}");
    };
    let good = ["PS256", "ES256", "EdDSA", "Ed25519"];
    names("id_token_signing_alg_values_supported", &good);
    names("token_endpoint_auth_signing_alg_values_supported", &good);
    names("dpop_signing_alg_values_supported", &good);
    names("token_endpoint_auth_methods_supported", &["private_key_jwt"]);
    names("code_challenge_methods_supported", &["S256"]);
    names("response_types_supported", &["code"]);
    names("grant_types_supported", &["authorization_code"]);
    assert_eq!(metadata["authorization_response_iss_parameter_supported"], true);
    assert_eq!(metadata["pushed_authorization_request_endpoint"], "https://idp.tail.test/par");
    suite.key_set();
}

/// The happy flow: bound by a proof at the pushed request; then the second client, which sends `dpop_jkt` only.
#[test]
fn fapi2_security_profile_final_happy_flow() {
    let suite = provider();
    let first = Login::new(&suite, &FIRST, Binding::Proof).sign_in();
    let second = Login::new(&suite, &SECOND, Binding::Jkt).sign_in();
    assert_eq!(first.claims["sub"], second.claims["sub"]);
    assert_eq!(first.claims["acr"], "urn:tsidecar:acr:confirmed");
}

/// Cancel on the page: `access_denied`.
#[test]
fn fapi2_security_profile_final_user_rejects_authentication() {
    let suite = provider();
    let login = Login::first(&suite);
    let mut browser = suite.browser();
    let landed = browser.visit(&login.target(&login.pushed()));
    let callback = answer(&mut browser, landed, "cancel").callback();
    login.response().refused(&callback, &["access_denied"]);
}

/// No `state`: none comes back, and no `s_hash`.
#[test]
fn fapi2_security_profile_final_ensure_authorization_request_without_state_success() {
    let suite = provider();
    let tokens = Login::first(&suite).without("state").sign_in();
    assert!(tokens.claims.get("s_hash").is_none());
}

/// No `nonce`: none in the ID token.
#[test]
fn fapi2_security_profile_final_ensure_authorization_request_without_nonce_success() {
    let suite = provider();
    assert!(Login::first(&suite).without("nonce").sign_in().claims.get("nonce").is_none());
}

/// A `nonce` of 64 characters comes back whole.
#[test]
fn fapi2_security_profile_final_ensure_authorization_request_with_64_char_nonce_success() {
    let suite = provider();
    Login::first(&suite).with("nonce", &"0123456789abcdef".repeat(4)).sign_in();
}

/// A `nonce` of 384 characters comes back whole.
#[test]
fn fapi2_security_profile_final_ensure_authorization_request_with_long_nonce() {
    let suite = provider();
    Login::first(&suite).with("nonce", &"0123456789abcdef".repeat(24)).sign_in();
}

/// A `state` of 1,000 characters comes back whole.
#[test]
fn fapi2_security_profile_final_ensure_authorization_request_with_long_state() {
    let suite = provider();
    Login::first(&suite).with("state", &"0123456789".repeat(100)).sign_in();
}

/// Scopes in another order.
#[test]
fn fapi2_security_profile_final_ensure_other_scope_order_succeeds() {
    let suite = provider();
    for scope in ["openid profile email", "email profile openid"] {
        let tokens = Login::first(&suite).with("scope", scope).sign_in();
        assert!(tokens.userinfo.get("name").is_some() && tokens.userinfo.get("email").is_some());
    }
}

/// `claims`: those that we have come, unknown ones are ignored.
#[test]
fn fapi2_security_profile_final_test_claims_parameter_identity_claims() {
    let suite = provider();
    assert_eq!(suite.metadata("claims_parameter_supported"), true);
    let claims = json!({
        "id_token": { "auth_time": { "essential": true }, "https://rp.oidf.test/unknown": null },
        "userinfo": {
            "name": { "essential": true }, "email": null, "birthdate": { "essential": true },
            "https://rp.oidf.test/unknown": { "value": "x" },
        },
        "unknown": {},
    });
    let tokens = Login::first(&suite).with("claims", &claims.to_string()).sign_in();
    assert!(tokens.userinfo.get("name").is_some() && tokens.userinfo.get("email").is_some());
    assert!(tokens.userinfo.get("birthdate").is_none());
}

/// Another `nonce` beside `request_uri`: the pushed one wins.
#[test]
fn fapi2_security_profile_final_ensure_different_nonce_inside_and_outside_request_object() {
    outside("nonce");
}

/// Another `state` beside `request_uri`: the pushed one wins.
#[test]
fn fapi2_security_profile_final_ensure_different_state_inside_and_outside_request_object() {
    outside("state");
}

/// Signs in with one more parameter at the authorization endpoint.
#[track_caller]
fn outside(name: &str) {
    let suite = provider();
    let login = Login::first(&suite);
    let target = login.target(&login.pushed());
    let code = login.code_at(&format!("{target}&{name}=outside"));
    login.finish(&code);
}

/// `state` beside `request_uri` only: ignored.
#[test]
fn fapi2_security_profile_final_state_only_outside_request_object_not_used() {
    let suite = provider();
    let login = Login::first(&suite).without("state");
    let target = login.target(&login.pushed());
    login.finish(&login.code_at(&format!("{target}&state=outside")));
}

/// Nothing but `client_id` and `request_uri` at the authorization endpoint.
#[test]
fn fapi2_security_profile_final_par_without_duplicate_parameters() {
    let suite = provider();
    let login = Login::first(&suite);
    let target = login.target(&login.pushed());
    assert_eq!(target.matches('=').count(), 2);
    login.finish(&login.code_at(&target));
}

/// Not pushed: refused.
#[test]
fn fapi2_security_profile_final_ensure_unsigned_authorization_request_without_using_par_fails() {
    let suite = provider();
    let login = Login::first(&suite);
    let query = crate::support::wire::form(&login.parameters.pairs());
    let callback = suite.browser().visit(&format!("/authorize?{query}")).callback();
    login.response().refused(&callback, &["invalid_request"]);
}

/// `response_type=code id_token` is refused when it is pushed.
#[test]
fn fapi2_security_profile_final_ensure_response_type_code_idtoken_fails() {
    response_type("code id_token");
}

/// `response_type=token` is refused when it is pushed.
#[test]
fn fapi2_security_profile_final_ensure_response_type_token_fails() {
    response_type("token");
}

#[track_caller]
fn response_type(value: &str) {
    let suite = provider();
    let push = Login::first(&suite).with("response_type", value).push();
    checks::refused(&push, &["unsupported_response_type", "invalid_request"]);
}
