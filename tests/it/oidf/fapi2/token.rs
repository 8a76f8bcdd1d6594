//! Codes and refresh tokens: for one client, once, for a while.

use serde_json::json;

use super::{
    super::checks,
    party::{Binding, FIRST, Login, SECOND, provider, resource, resource_proof},
};
use crate::support::proof::Prover;

/// Another client, whatever it proves: refused.
#[test]
fn fapi2_security_profile_final_ensure_authorization_code_is_bound_to_client() {
    let suite = provider();
    let login = Login::first(&suite);
    let code = login.code();
    let assertion = SECOND.assertion(&suite, &json!({}));
    let reply = login.redemption(&code).with("client_assertion", &assertion).send(&suite);
    checks::refused(&reply, &["invalid_grant"]);
}

/// The code a second time, a second later: refused, and the first access token dies.
#[test]
fn fapi2_security_profile_final_attempt_reuse_authorization_code_after_one_second() {
    let suite = provider();
    let login = Login::first(&suite);
    let code = login.code();
    let tokens = login.finish(&code);
    suite.pass(1);
    checks::refused(&login.redeem(&code), &["invalid_grant"]);
    let proof = resource_proof(&suite, &login.key, &tokens.access_token, &json!({}));
    let reply = resource(&suite, &tokens.access_token, &proof);
    assert_eq!((reply.status, reply.error().as_str()), (401, "invalid_token"));
}

/// The code for the first time, after more than a minute: refused.
#[test]
fn fapi2_security_profile_final_ensure_token_endpoint_fails_with_expired_auth_code() {
    let suite = provider();
    let login = Login::first(&suite);
    let code = login.code();
    suite.pass(61);
    checks::refused(&login.redeem(&code), &["invalid_grant"]);
}

/// No `code_verifier`: refused.
#[test]
fn fapi2_security_profile_final_ensure_pkce_code_verifier_required() {
    let suite = provider();
    let login = Login::first(&suite);
    let reply = login.redemption(&login.code()).without("code_verifier").send(&suite);
    checks::refused(&reply, &["invalid_grant"]);
}

/// A wrong `code_verifier`: refused.
#[test]
fn fapi2_security_profile_final_incorrect_pkce_code_verifier_rejected() {
    let suite = provider();
    let login = Login::first(&suite);
    let wrong = "a".repeat(43);
    let reply = login.redemption(&login.code()).with("code_verifier", &wrong).send(&suite);
    checks::refused(&reply, &["invalid_grant"]);
}

/// Refreshing with a new key; the token before, 30 seconds later; never without the client's own proof.
#[test]
fn fapi2_security_profile_final_refresh_token() {
    let suite = provider();
    for (client, other, binding) in [(&*FIRST, &*SECOND, Binding::Proof), (&*SECOND, &*FIRST, Binding::Jkt)] {
        let mut login = Login::new(&suite, client, binding);
        let first = login.sign_in();
        // A confidential client's refresh token is bound to the client, not to the key (RFC 9449 §5).
        login.key = Prover::new();
        let renewed = login.tokens(&login.renewal(&first.refresh_token).send(&suite), None);
        for name in ["iss", "sub", "aud", "auth_time"] {
            assert_eq!(renewed.claims[name], first.claims[name], "{name}");
        }
        // FAPI 2.0 §5.3.2.1-9: the answer may have been lost.
        suite.pass(30);
        let again = login.tokens(&login.renewal(&first.refresh_token).send(&suite), None);

        let shown = login.renewal(&again.refresh_token);
        let bare = shown.without("client_assertion").without("client_assertion_type");
        checks::refused(
            &bare.with("client_id", client.id).send(&suite),
            &["invalid_client", "invalid_request"],
        );
        let assertion = other.assertion(&suite, &json!({}));
        let stolen = login.renewal(&again.refresh_token).with("client_assertion", &assertion);
        checks::refused(&stolen.send(&suite), &["invalid_grant"]);
    }
}
