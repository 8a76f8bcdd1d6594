//! Second sign-ins in the same browser, and what a request may ask of a sign-in.

use super::super::relying_party::{FIRST, NOT_SILENTLY, SignedIn, Suite, Variant};

/// `prompt=login` shows a page to somebody who is signed in, and moves `auth_time`.
pub(in crate::oidf) fn oidcc_prompt_login(variant: Variant) {
    let suite = Suite::new(variant);
    let mut browser = suite.browser();
    let first = suite.attempt(FIRST).sign_in(&mut browser);
    suite.pass(1);
    let second = suite.attempt(FIRST).with("prompt", "login").sign_in_by_page(&mut browser);
    assert!(second.auth_time() > first.auth_time());
    assert_eq!(second.claims["sub"], first.claims["sub"]);
}

/// `prompt=none` in a fresh browser is refused; a `state` of 128 characters comes back whole.
pub(in crate::oidf) fn oidcc_prompt_none_not_logged_in(variant: Variant) {
    let suite = Suite::new(variant);
    let state = "0123456789abcdef".repeat(8);
    let attempt = suite.attempt(FIRST).with("prompt", "none").with("state", &state);
    let callback = attempt.visit(&mut suite.browser()).callback();
    attempt.refused(&callback, &NOT_SILENTLY);
}

/// `prompt=none` after a sign-in: the same `auth_time` and `sub`.
pub(in crate::oidf) fn oidcc_prompt_none_logged_in(variant: Variant) {
    let suite = Suite::new(variant);
    let mut browser = suite.browser();
    let first = suite.attempt(FIRST).sign_in(&mut browser);
    suite.pass(60);
    let second = suite.attempt(FIRST).with("prompt", "none").sign_in(&mut browser);
    assert_same_sign_in(&first, &second);
}

fn assert_same_sign_in(first: &SignedIn, second: &SignedIn) {
    for name in ["auth_time", "sub"] {
        assert_eq!(first.claims[name], second.claims[name], "{name}");
    }
}

/// `id_token_hint` with `prompt=none`: the same `auth_time` and `sub`.
pub(in crate::oidf) fn oidcc_id_token_hint(variant: Variant) {
    let suite = Suite::new(variant);
    let mut browser = suite.browser();
    let first = suite.attempt(FIRST).sign_in(&mut browser);
    suite.pass(60);
    let again = suite.attempt(FIRST).with("prompt", "none").with("id_token_hint", first.token("id_token"));
    assert_same_sign_in(&first, &again.sign_in(&mut browser));
}

/// `max_age` that is not exceeded: no second sign-in.
pub(in crate::oidf) fn oidcc_max_age_10000(variant: Variant) {
    let suite = Suite::new(variant);
    let mut browser = suite.browser();
    let first = suite.attempt(FIRST).with("max_age", "15000").sign_in(&mut browser);
    suite.pass(60);
    let second = suite.attempt(FIRST).with("max_age", "10000").sign_in(&mut browser);
    assert_same_sign_in(&first, &second);
}

/// `max_age` that is exceeded: a page, and a later `auth_time`, which is recent.
pub(in crate::oidf) fn oidcc_max_age_1(variant: Variant) {
    let suite = Suite::new(variant);
    let mut browser = suite.browser();
    let first = suite.attempt(FIRST).sign_in(&mut browser);
    suite.pass(2);
    let second = suite.attempt(FIRST).with("max_age", "1").sign_in_by_page(&mut browser);
    assert!(second.auth_time() > first.auth_time());
    assert!(suite.now() - second.auth_time() <= 5);
}

/// `acr_values`: one of those asked for comes back.
pub(in crate::oidf) fn oidcc_ensure_request_with_acr_values_succeeds(variant: Variant) {
    let suite = Suite::new(variant);
    let supported = suite.metadata("acr_values_supported");
    let values: Vec<_> = supported.as_array().unwrap().iter().map(|acr| acr.as_str().unwrap()).collect();
    let attempt = suite.attempt(FIRST).with("acr_values", &values.join(" "));
    let signed_in = attempt.sign_in(&mut suite.browser());
    assert!(values.contains(&signed_in.claims["acr"].as_str().unwrap()), "{}", signed_in.claims);
}

/// `name` as an essential claim at UserInfo.
pub(in crate::oidf) fn oidcc_claims_essential(variant: Variant) {
    let suite = Suite::new(variant);
    assert_eq!(suite.metadata("claims_parameter_supported"), true);
    let claims = r#"{"userinfo":{"name":{"essential":true}}}"#;
    let signed_in = suite.attempt(FIRST).with("claims", claims).sign_in(&mut suite.browser());
    assert_eq!(signed_in.userinfo["name"], "Alice Äxample");
}
