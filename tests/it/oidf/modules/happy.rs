//! Sign-ins that succeed, whatever harmless things the request says.

use crate::support::{CHALLENGE, VERIFIER};

use super::super::relying_party::{FIRST, POSTING, SECOND, Suite, Variant};

/// The happy flow, and once more with the second client.
pub(in crate::oidf) fn oidcc_server(variant: Variant) {
    let suite = Suite::new(variant);
    let mut browser = suite.browser();
    let first = suite.attempt(FIRST).sign_in(&mut browser);
    let second = suite.attempt(SECOND).sign_in(&mut browser);
    assert_eq!(first.claims["sub"], second.claims["sub"]);
}

/// Neither `nonce` nor PKCE: succeeds.
pub(in crate::oidf) fn oidcc_ensure_request_without_nonce_succeeds_for_code_flow(variant: Variant) {
    let suite = Suite::new(variant);
    let signed_in = suite.attempt(FIRST).without("nonce").sign_in(&mut suite.browser());
    assert!(signed_in.claims.get("nonce").is_none());
}

/// The claims of `profile` at UserInfo, none of them in the ID token.
pub(in crate::oidf) fn oidcc_scope_profile(variant: Variant) {
    scope(variant, "profile", &["name", "preferred_username", "picture"]);
}

/// The claims of `email` at UserInfo, none of them in the ID token.
pub(in crate::oidf) fn oidcc_scope_email(variant: Variant) {
    scope(variant, "email", &["email", "email_verified"]);
}

/// `scopes_supported` has no `address`, so the suite skips it; whoever asks anyway is signed in without it.
pub(in crate::oidf) fn oidcc_scope_address(variant: Variant) {
    scope(variant, "address", &[]);
}

/// `scopes_supported` has no `phone`, so the suite skips it; whoever asks anyway is signed in without it.
pub(in crate::oidf) fn oidcc_scope_phone(variant: Variant) {
    scope(variant, "phone", &[]);
}

/// All scopes at once: the claims of those that are supported.
pub(in crate::oidf) fn oidcc_scope_all(variant: Variant) {
    let claims = ["name", "preferred_username", "picture", "email", "email_verified"];
    scope(variant, "profile email address phone", &claims);
}

/// Signs in with these scopes beside `openid`: exactly these claims come, all of them advertised.
fn scope(variant: Variant, scopes: &str, claims: &[&str]) {
    let suite = Suite::new(variant);
    let asked = format!("openid {scopes}");
    let signed_in = suite.attempt(FIRST).with("scope", &asked).sign_in(&mut suite.browser());
    for name in claims {
        assert!(suite.advertises("claims_supported", name), "{name}");
        assert!(signed_in.userinfo.get(name).is_some(), "{name}: {}", signed_in.userinfo);
    }
    let supported: Vec<_> =
        asked.split(' ').filter(|scope| suite.advertises("scopes_supported", scope)).collect();
    assert_eq!(signed_in.token("scope"), supported.join(" "));
    for name in ["name", "email", "address", "phone_number"] {
        assert_eq!(signed_in.userinfo.get(name).is_some(), claims.contains(&name), "{name}");
    }
}

/// Scopes and parameters in another order.
pub(in crate::oidf) fn oidcc_alternate_happy_flow(variant: Variant) {
    let suite = Suite::new(variant);
    let attempt = suite.attempt(FIRST).with("scope", "email profile openid").reversed();
    let signed_in = attempt.sign_in(&mut suite.browser());
    assert!(signed_in.userinfo.get("email").is_some());
}

/// `display=page` causes no error.
pub(in crate::oidf) fn oidcc_display_page(variant: Variant) {
    succeeds_with(variant, "display", "page");
}

/// `display=popup` causes no error.
pub(in crate::oidf) fn oidcc_display_popup(variant: Variant) {
    succeeds_with(variant, "display", "popup");
}

/// `ui_locales` causes no error.
pub(in crate::oidf) fn oidcc_ui_locales(variant: Variant) {
    succeeds_with(variant, "ui_locales", "se");
}

/// `claims_locales` causes no error.
pub(in crate::oidf) fn oidcc_claims_locales(variant: Variant) {
    succeeds_with(variant, "claims_locales", "se");
}

/// `login_hint` causes no error, whoever is meant.
pub(in crate::oidf) fn oidcc_login_hint(variant: Variant) {
    succeeds_with(variant, "login_hint", "buffy@rp.oidf.test");
    succeeds_with(variant, "login_hint", "alice@example.com");
}

/// A parameter that nobody knows is ignored.
pub(in crate::oidf) fn oidcc_ensure_request_with_unknown_parameter_succeeds(variant: Variant) {
    succeeds_with(variant, "extra", "foobar");
}

fn succeeds_with(variant: Variant, name: &str, value: &str) {
    let suite = Suite::new(variant);
    suite.attempt(FIRST).with(name, value).sign_in(&mut suite.browser());
}

/// The authorization request by POST.
pub(in crate::oidf) fn oidcc_ensure_post_request_succeeds(variant: Variant) {
    let suite = Suite::new(variant);
    let attempt = suite.attempt(FIRST);
    let landed = attempt.post(&mut suite.browser());
    attempt.finish(landed);
}

/// The happy flow with the secret in the body.
pub(in crate::oidf) fn oidcc_server_client_secret_post(variant: Variant) {
    let suite = Suite::new(variant);
    assert!(suite.advertises("token_endpoint_auth_methods_supported", "client_secret_post"));
    suite.attempt(POSTING).sign_in(&mut suite.browser());
}

/// PKCE with S256.
pub(in crate::oidf) fn oidcc_ensure_request_with_valid_pkce_succeeds(variant: Variant) {
    let suite = Suite::new(variant);
    assert!(suite.advertises("code_challenge_methods_supported", "S256"));
    let attempt =
        suite.attempt(FIRST).with("code_challenge", CHALLENGE).with("code_challenge_method", "S256");
    let code = attempt.code(&attempt.visit(&mut suite.browser()).callback());
    attempt.redeem(&code, &[("code_verifier", VERIFIER)]);
}
