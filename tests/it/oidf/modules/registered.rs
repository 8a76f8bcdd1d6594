//! The modules of Basic that run with registered clients only.

use serde_json::json;

use super::super::{
    browser::Landed,
    checks,
    relying_party::{FIRST, Suite, Variant},
};

/// The ID token is signed with RS256 though nobody asked for it, by a key that is named.
pub(in crate::oidf) fn oidcc_idtoken_signature(variant: Variant) {
    let suite = Suite::new(variant);
    suite.attempt(FIRST).sign_in(&mut suite.browser());
}

/// `none` is not offered for ID tokens, so the suite skips it; whoever registers for it is refused.
pub(in crate::oidf) fn oidcc_idtoken_unsigned(variant: Variant) {
    let suite = Suite::new(variant);
    assert!(!suite.advertises("id_token_signing_alg_values_supported", "none"));
    let metadata = json!({ "redirect_uris": [FIRST.redirect_uri], "id_token_signed_response_alg": "none" });
    checks::refused(&suite.register(&metadata), &["invalid_client_metadata"]);
}

/// `none` is not offered for request objects, so the suite skips it; a request by reference is refused, never fetched.
pub(in crate::oidf) fn oidcc_request_uri_unsigned_supported_correctly_or_rejected_as_unsupported(
    variant: Variant,
) {
    let suite = Suite::new(variant);
    assert!(!suite.advertises("request_object_signing_alg_values_supported", "none"));
    let attempt = suite.attempt(FIRST).with("request_uri", "https://rp.oidf.test/request.jwt");
    match attempt.visit(&mut suite.browser()) {
        Landed::Callback(callback) => {
            attempt.refused(&callback, &["request_uri_not_supported", "invalid_request_uri"]);
        }
        Landed::Page(page) => checks::error_page(&page),
    }
}
