//! Requests that are refused: by an error at the relying party, or on a page of ours.

use super::super::{
    browser::Landed,
    checks,
    relying_party::{FIRST, Suite, Variant},
};

/// Without `response_type`: an error by redirect, or a page.
pub(in crate::oidf) fn oidcc_response_type_missing(variant: Variant) {
    let suite = Suite::new(variant);
    let attempt = suite.attempt(FIRST).without("response_type");
    let callback = attempt.visit(&mut suite.browser()).callback();
    attempt.refused(&callback, &["unsupported_response_type", "invalid_request"]);
}

/// A redirect URI that is not registered: a page, never a redirect.
pub(in crate::oidf) fn oidcc_ensure_registered_redirect_uri(variant: Variant) {
    let suite = Suite::new(variant);
    for uri in ["https://rp.oidf.test/callback/n0tRegistered", "https://rp.oidf.test/callback?n0t=registered"]
    {
        let page = suite.attempt(FIRST).with("redirect_uri", uri).visit(&mut suite.browser()).page();
        checks::error_page(&page);
        assert!(page.text().contains("redirect_uri"), "{}", page.text());
    }
}

/// `none` is not advertised for request objects, so the suite skips it; an unsigned object is refused, never ignored.
pub(in crate::oidf) fn oidcc_unsigned_request_object_supported_correctly_or_rejected_as_unsupported(
    variant: Variant,
) {
    let suite = Suite::new(variant);
    assert!(!suite.advertises("request_object_signing_alg_values_supported", "none"));
    let inside = suite.attempt(FIRST).with("state", "inside");
    // As the suite sends it: outside only what OAuth demands.
    let attempt = inside.clone().without("nonce").without("state").with("request", &inside.unsigned());
    match attempt.visit(&mut suite.browser()) {
        Landed::Callback(callback) => {
            attempt.refused(&callback, &["request_not_supported", "invalid_request_object"]);
        }
        Landed::Page(page) => checks::error_page(&page),
    }
}

/// `none` is not advertised for request objects, so the suite skips it; the URI inside an unsigned object leads nowhere.
pub(in crate::oidf) fn oidcc_ensure_request_object_with_redirect_uri(variant: Variant) {
    let suite = Suite::new(variant);
    assert!(!suite.advertises("request_object_signing_alg_values_supported", "none"));
    let inside = suite.attempt(FIRST);
    let outside = inside.clone().with("redirect_uri", "https://rp.oidf.test/n0tRegistered");
    let page = outside.with("request", &inside.unsigned()).visit(&mut suite.browser()).page();
    checks::error_page(&page);
}
