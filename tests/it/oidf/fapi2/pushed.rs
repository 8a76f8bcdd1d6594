//! Pushed requests: what is refused at `/par`, and what a `request_uri` is good for.

use serde_json::json;

use super::{
    super::{browser::Landed, checks, relying_party::Suite},
    party::{Binding, FIRST, Login, SECOND, answer, provider, request_uri},
};
use crate::support::Request;

/// Without `redirect_uri` nothing is pushed.
#[test]
fn fapi2_security_profile_final_ensure_request_object_without_redirect_uri_fails() {
    let suite = provider();
    for client in [&*FIRST, &*SECOND] {
        let push = Login::new(&suite, client, Binding::Proof).without("redirect_uri").push();
        checks::refused(&push, &["invalid_request"]);
    }
}

/// Without `redirect_uri` where it must stand, one beside `request_uri` is no help.
#[test]
fn fapi2_security_profile_final_ensure_redirect_uri_in_authorization_request() {
    let suite = provider();
    let login = Login::first(&suite).without("redirect_uri");
    checks::refused(&login.push(), &["invalid_request"]);
    let uri = "https%3A%2F%2Frp.oidf.test%2Fcallback";
    let unknown = login.target("urn:ietf:params:oauth:request_uri:none");
    nothing_waits(&suite, &unknown);
    nothing_waits(&suite, &format!("{unknown}&redirect_uri={uri}"));
}

/// A `redirect_uri` that is not registered: the suite tolerates that it is taken (RFC 9126 §2.4); we refuse it.
#[test]
fn fapi2_security_profile_final_plain_fapi_tolerate_unregistered_redirect_uri() {
    let suite = provider();
    let push = Login::first(&suite).with("redirect_uri", "https://rp.oidf.test/n0tRegistered").push();
    checks::refused(&push, &["invalid_request"]);
}

/// No PKCE: refused.
#[test]
fn fapi2_security_profile_final_par_ensure_pkce_required() {
    let suite = provider();
    let push = Login::first(&suite).without("code_challenge").without("code_challenge_method").push();
    checks::refused(&push, &["invalid_request"]);
}

/// PKCE with `plain`: refused, said or implied.
#[test]
fn fapi2_security_profile_final_par_plain_pkce_rejected() {
    let suite = provider();
    let plain = Login::first(&suite).with("code_challenge_method", "plain");
    checks::refused(&plain.push(), &["invalid_request"]);
    checks::refused(&plain.without("code_challenge_method").push(), &["invalid_request"]);
}

/// A `request_uri` a second time, when the sign-in is finished: refused.
#[test]
fn fapi2_security_profile_final_par_attempt_reuse_request_uri() {
    let suite = provider();
    let login = Login::first(&suite);
    let target = login.target(&login.pushed());
    login.finish(&login.code_at(&target));
    nothing_waits(&suite, &target);
}

/// Opened twice before anybody goes on: the second time works.
#[test]
fn fapi2_security_profile_final_par_ensure_reused_request_uri_prior_to_auth_completion_succeeds() {
    let suite = provider();
    let login = Login::first(&suite);
    let target = login.target(&login.pushed());
    let mut browser = suite.browser();
    checks::our_page(&browser.visit(&target).page());
    let landed = browser.visit(&target);
    let callback = answer(&mut browser, landed, "continue").callback();
    let code = login.response().code(&callback);
    login.finish(&code);
}

/// An expired `request_uri`: refused.
#[test]
fn fapi2_security_profile_final_par_attempt_to_use_expired_request_uri() {
    let suite = provider();
    let login = Login::first(&suite);
    let push = login.push();
    let target = login.target(&request_uri(&push));
    suite.pass(push.json()["expires_in"].as_i64().unwrap() + 1);
    nothing_waits(&suite, &target);
}

/// The `request_uri` of another client: refused.
#[test]
fn fapi2_security_profile_final_par_attempt_to_use_request_uri_for_different_client() {
    let suite = provider();
    let uri = Login::first(&suite).pushed();
    let other = Login::new(&suite, &SECOND, Binding::Proof);
    nothing_waits(&suite, &other.target(&uri));
}

/// A page, since where to return to is not known any more; or the error at the relying party.
#[track_caller]
fn nothing_waits(suite: &Suite, target: &str) {
    match suite.browser().visit(target) {
        Landed::Page(page) => checks::error_page(&page),
        Landed::Callback(callback) => assert_eq!(callback.get("error"), Some("invalid_request_uri")),
    }
}

/// `request_uri` cannot be pushed.
#[test]
fn fapi2_security_profile_final_par_authorization_request_containing_request_uri_form_param() {
    let suite = provider();
    let uri = Login::first(&suite).pushed();
    for uri in [&*uri, "urn:ietf:params:oauth:request_uri:other", "https://rp.oidf.test/object"] {
        let push = Login::first(&suite).with("request_uri", uri).push();
        checks::refused(&push, &["invalid_request", "request_uri_not_supported"]);
    }
}

/// Another method than POST: refused.
#[test]
fn fapi2_security_profile_final_par_attempt_invalid_http_method() {
    let suite = provider();
    let login = Login::first(&suite);
    for method in ["GET", "PUT"] {
        let push = login.push_request(&FIRST.assertion(&suite, &json!({})));
        let reply = suite.send(Request { method: method.to_owned(), body: Vec::new(), ..push });
        assert_eq!(reply.status, 405, "{method}: {}", reply.show());
    }
}
