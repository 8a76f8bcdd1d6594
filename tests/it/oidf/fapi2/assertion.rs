//! How clients prove themselves.

use serde_json::{Value, json};

use super::{
    super::{checks, relying_party::ISSUER},
    party::{FIRST, Login, SECOND, provider, request_uri},
};

/// The body names another client than the assertion.
#[test]
fn fapi2_security_profile_final_ensure_client_id_in_token_endpoint() {
    let suite = provider();
    let login = Login::first(&suite);
    let code = login.code();
    let reply = login.redemption(&code).with("client_id", SECOND.id).send(&suite);
    checks::refused(&reply, &["invalid_client", "invalid_request"]);
    // Nothing was lost by that, and the right one may be named.
    let reply = login.redemption(&code).with("client_id", FIRST.id).send(&suite);
    assert_eq!(reply.status, 200, "{}", reply.show());
}

/// An assertion signed with RS256 by a registered key: refused.
#[test]
fn fapi2_security_profile_final_ensure_signed_client_assertion_with_rs256_fails() {
    let suite = provider();
    let login = Login::first(&suite);
    let code = login.code();
    let assertion = FIRST.assertion_by_rs256(&suite);
    let reply = login.redemption(&code).with("client_assertion", &assertion).send(&suite);
    checks::refused(&reply, &["invalid_client"]);
    let push = suite.send(login.push_request(&FIRST.assertion_by_rs256(&suite)));
    checks::refused(&push, &["invalid_client"]);
}

/// No assertion at all: refused.
#[test]
fn fapi2_security_profile_final_ensure_client_assertion_in_token_endpoint() {
    let suite = provider();
    let login = Login::first(&suite);
    let bare = login.redemption(&login.code()).without("client_assertion").without("client_assertion_type");
    checks::refused(&bare.send(&suite), &["invalid_client", "invalid_request"]);
    let named = bare.with("client_id", FIRST.id);
    checks::refused(&named.send(&suite), &["invalid_client", "invalid_request"]);
}

/// `exp` five minutes ago: refused.
#[test]
fn fapi2_security_profile_final_ensure_client_assertion_with_exp_is_5_minutes_in_past_fails() {
    let suite = provider();
    let exp = suite.now() - 300;
    assertion_fails(&json!({ "exp": exp, "iat": exp - 60, "nbf": exp - 60 }));
}

/// `aud` is somebody else: refused.
#[test]
fn fapi2_security_profile_final_ensure_client_assertion_with_wrong_aud_fails() {
    assertion_fails(&json!({ "aud": "https://other.test" }));
}

/// No `sub`: refused; it is what tells an assertion from a request object.
#[test]
fn fapi2_security_profile_final_ensure_client_assertion_with_no_sub_fails() {
    assertion_fails(&json!({ "sub": null }));
}

/// `aud` is a list, although of the issuer only: refused.
#[test]
fn fapi2_security_profile_final_par_test_array_as_audience_fails() {
    assertion_fails(&json!({ "aud": [ISSUER] }));
}

/// `aud` is the URL of `/par`: refused.
#[test]
fn fapi2_security_profile_final_par_test_par_endpoint_url_as_audience_fails() {
    assertion_fails(&json!({ "aud": format!("{ISSUER}/par") }));
}

/// `aud` is the URL of `/token`: refused.
#[test]
fn fapi2_security_profile_final_par_test_token_endpoint_url_as_audience_fails() {
    assertion_fails(&json!({ "aud": format!("{ISSUER}/token") }));
}

/// `nbf` and `iat` more than a minute ahead: refused.
#[test]
fn fapi2_security_profile_final_par_ensure_jwt_client_assertions_nbf_over_60_seconds_in_the_future_fails() {
    let suite = provider();
    let nbf = suite.now() + 65;
    assertion_fails(&json!({ "nbf": nbf, "iat": nbf, "exp": nbf + 60 }));
}

/// `nbf` eight seconds ahead: accepted, clocks differ.
#[test]
fn fapi2_security_profile_final_par_ensure_jwt_client_assertions_nbf_8_seconds_in_the_future_is_accepted() {
    let suite = provider();
    let login = Login::first(&suite);
    let nbf = suite.now() + 8;
    let ahead = json!({ "nbf": nbf, "iat": nbf });
    let uri = request_uri(&suite.send(login.push_request(&FIRST.assertion(&suite, &ahead))));
    let code = login.code_at(&login.target(&uri));
    let redemption = login.redemption(&code).with("client_assertion", &FIRST.assertion(&suite, &ahead));
    login.tokens(&redemption.send(&suite), login.parameters.get("nonce"));
}

/// An assertion with these changes is refused, at `/par` and at `/token`, and nothing is lost by that.
#[track_caller]
fn assertion_fails(changes: &Value) {
    let suite = provider();
    let login = Login::first(&suite);
    let push = suite.send(login.push_request(&FIRST.assertion(&suite, changes)));
    checks::refused(&push, &["invalid_client"]);
    let code = login.code();
    let bad = FIRST.assertion(&suite, changes);
    let reply = login.redemption(&code).with("client_assertion", &bad).send(&suite);
    checks::refused(&reply, &["invalid_client"]);
    login.finish(&code);
}
