//! What becomes of codes and tokens.

use crate::support::Request;

use super::super::{
    checks,
    relying_party::{FIRST, SECOND, Suite, Variant},
};

/// UserInfo by GET, the token in the header.
pub(in crate::oidf) fn oidcc_userinfo_get(variant: Variant) {
    userinfo(variant, |token| Request::get("/userinfo").bearer(token));
}

/// UserInfo by POST, the token in the header.
pub(in crate::oidf) fn oidcc_userinfo_post_header(variant: Variant) {
    userinfo(variant, |token| Request::new("POST", "/userinfo").bearer(token));
}

/// UserInfo by POST, the token in the body.
pub(in crate::oidf) fn oidcc_userinfo_post_body(variant: Variant) {
    userinfo(variant, |token| Request::post("/userinfo", &[("access_token", token)]));
}

fn userinfo(variant: Variant, ask: impl Fn(&str) -> Request) {
    let suite = Suite::new(variant);
    let signed_in = suite.attempt(FIRST).with("scope", "openid profile email").sign_in(&mut suite.browser());
    let reply = suite.send(ask(signed_in.token("access_token")));
    assert_eq!(checks::userinfo(&reply, &signed_in.claims["sub"]), signed_in.userinfo);
}

/// A code the second time, at once.
pub(in crate::oidf) fn oidcc_codereuse(variant: Variant) {
    code_reuse(variant, 0);
}

/// A code the second time, after 30 seconds: the first access token dies.
pub(in crate::oidf) fn oidcc_codereuse_30seconds(variant: Variant) {
    code_reuse(variant, 30);
}

fn code_reuse(variant: Variant, seconds: i64) {
    let suite = Suite::new(variant);
    let signed_in = suite.attempt(FIRST).sign_in(&mut suite.browser());
    suite.pass(seconds);
    checks::refused(&suite.redeem(FIRST, &signed_in.code, &[]), &["invalid_grant"]);
    let userinfo = suite.userinfo(signed_in.token("access_token"));
    assert_eq!((userinfo.status, userinfo.error().as_str()), (401, "invalid_token"));
}

/// Refreshing, with `scope` repeated, for both clients; another client is refused.
pub(in crate::oidf) fn oidcc_refresh_token(variant: Variant) {
    let suite = Suite::new(variant);
    assert!(suite.advertises("grant_types_supported", "refresh_token"));
    let mut browser = suite.browser();
    for (client, other) in [(FIRST, SECOND), (SECOND, FIRST)] {
        let attempt = suite.attempt(client).with("scope", "openid email").with("prompt", "consent");
        let signed_in = attempt.sign_in(&mut browser);
        suite.pass(1);
        let shown = signed_in.token("refresh_token");
        let reply = suite.refresh(client, shown, &[("scope", "openid email")]);
        let renewed = signed_in.renewed(&suite, client, &reply);
        checks::refused(&suite.refresh(other, renewed.token("refresh_token"), &[]), &["invalid_grant"]);
    }
}
