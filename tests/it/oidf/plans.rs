//! The plans and their modules, and that each module has its test.

use std::{collections::BTreeSet, process::Command};

/// A plan: where its tests are, how many modules it has, and their names without the prefix.
struct Plan {
    module: &'static str,
    prefix: &'static str,
    count: usize,
    names: &'static [&'static [&'static str]],
}

/// Basic and Form Post Basic with static clients.
const BASIC: &[&str] = &[
    "server",
    "response-type-missing",
    "userinfo-get",
    "userinfo-post-header",
    "userinfo-post-body",
    "ensure-request-without-nonce-succeeds-for-code-flow",
    "scope-profile",
    "scope-email",
    "scope-address",
    "scope-phone",
    "scope-all",
    "alternate-happy-flow",
    "display-page",
    "display-popup",
    "prompt-login",
    "prompt-none-not-logged-in",
    "prompt-none-logged-in",
    "max-age-1",
    "max-age-10000",
    "ensure-request-with-unknown-parameter-succeeds",
    "id-token-hint",
    "login-hint",
    "ui-locales",
    "claims-locales",
    "ensure-request-with-acr-values-succeeds",
    "codereuse",
    "codereuse-30seconds",
    "ensure-registered-redirect-uri",
    "ensure-post-request-succeeds",
    "server-client-secret-post",
    "unsigned-request-object-supported-correctly-or-rejected-as-unsupported",
    "claims-essential",
    "ensure-request-object-with-redirect-uri",
    "refresh-token",
    "ensure-request-with-valid-pkce-succeeds",
];

/// What these two have beside that with registered clients.
const REGISTERED: &[&str] = &[
    "idtoken-signature",
    "idtoken-unsigned",
    "request-uri-unsigned-supported-correctly-or-rejected-as-unsupported",
];

/// Dynamic, without what `dynamic` says is left out.
const DYNAMIC: &[&str] = &[
    "server",
    "idtoken-rs256",
    "idtoken-unsigned",
    "userinfo-rs256",
    "ensure-redirect-uri-in-authorization-request",
    "redirect-uri-query-OK",
    "redirect-uri-query-mismatch",
    "redirect-uri-query-added",
    "redirect-uri-regfrag",
    "registration-logo-uri",
    "registration-policy-uri",
    "registration-tos-uri",
    "registration-jwks-uri",
    "registration-sector-uri",
    "registration-sector-bad",
    "server-rotate-keys",
    "refresh-token-rp-key-rotation",
    "request-uri-unsigned",
    "ensure-request-object-with-redirect-uri",
    "refresh-token",
    "ensure-client-assertion-with-iss-aud-succeeds",
];

const THIRD_PARTY_LOGIN: &[&str] = &["3rd_party-init-login", "3rd_party-init-login-nohttps"];

const RP_LOGOUT: &[&str] = &[
    "rp-initiated-logout-discovery-endpoint-verification",
    "rp-initiated-logout",
    "rp-initiated-logout-bad-post-logout-redirect-uri",
    "rp-initiated-logout-modified-id-token-hint",
    "rp-initiated-logout-no-id-token-hint",
    "rp-initiated-logout-no-params",
    "rp-initiated-logout-no-post-logout-redirect-uri",
    "rp-initiated-logout-no-state",
    "rp-initiated-logout-only-state",
    "rp-initiated-logout-query-added-to-post-logout-redirect-uri",
    "rp-initiated-logout-bad-id-token-hint",
];

const BACKCHANNEL: &[&str] =
    &["backchannel-logout-discovery-endpoint-verification", "backchannel-rp-initiated-logout"];

const FAPI2: &[&str] = &[
    "discovery-end-point-verification",
    "happy-flow",
    "user-rejects-authentication",
    "ensure-authorization-request-without-state-success",
    "ensure-authorization-request-without-nonce-success",
    "ensure-authorization-request-with-64-char-nonce-success",
    "ensure-authorization-request-with-long-nonce",
    "ensure-authorization-request-with-long-state",
    "ensure-other-scope-order-succeeds",
    "test-claims-parameter-identity-claims",
    "ensure-different-nonce-inside-and-outside-request-object",
    "ensure-different-state-inside-and-outside-request-object",
    "state-only-outside-request-object-not-used",
    "par-without-duplicate-parameters",
    "ensure-request-object-without-redirect-uri-fails",
    "ensure-redirect-uri-in-authorization-request",
    "plain-fapi-tolerate-unregistered-redirect-uri",
    "ensure-unsigned-authorization-request-without-using-par-fails",
    "ensure-response-type-code-idtoken-fails",
    "ensure-response-type-token-fails",
    "ensure-client-id-in-token-endpoint",
    "ensure-holder-of-key-required",
    "ensure-authorization-code-is-bound-to-client",
    "attempt-reuse-authorization-code-after-one-second",
    "ensure-token-endpoint-fails-with-expired-auth-code",
    "ensure-signed-client-assertion-with-RS256-fails",
    "ensure-client-assertion-in-token-endpoint",
    "ensure-client-assertion-with-exp-is-5-minutes-in-past-fails",
    "ensure-client-assertion-with-wrong-aud-fails",
    "ensure-client-assertion-with-no-sub-fails",
    "par-test-array-as-audience-fails",
    "par-test-par-endpoint-url-as-audience-fails",
    "par-test-token-endpoint-url-as-audience-fails",
    "par-ensure-jwt-client-assertions-nbf-8-seconds-in-the-future-is-accepted",
    "par-ensure-jwt-client-assertions-nbf-over-60-seconds-in-the-future-fails",
    "par-ensure-pkce-required",
    "par-plain-pkce-rejected",
    "ensure-pkce-code-verifier-required",
    "incorrect-pkce-code-verifier-rejected",
    "par-attempt-reuse-request_uri",
    "par-ensure-reused-request-uri-prior-to-auth-completion-succeeds",
    "par-attempt-to-use-expired-request_uri",
    "par-attempt-to-use-request_uri-for-different-client",
    "par-authorization-request-containing-request_uri-form-param",
    "par-attempt-invalid-http-method",
    "check-dpop-proof-nbf-exp",
    "ensure-dpopproof-with-iat-10seconds-before-succeeds",
    "ensure-dpopproof-with-iat-10seconds-after-succeeds",
    "ensure-mismatched-dpop-jkt-fails",
    "ensure-token-endpoint-fails-with-mismatched-dpop-proof-jkt",
    "ensure-token-endpoint-fails-with-mismatched-dpop-jkt",
    "ensure-dpopproof-at-par-endpoint-binding-success",
    "ensure-dpop-auth-code-binding-success",
    "dpop-negative-tests",
    "access-token-type-header-case-sensitivity",
    "refresh-token",
];

const FAPI2_CLIENT_CREDENTIALS: &[&str] = &[
    "discovery-end-point-verification",
    "happy-flow",
    "ensure-client-id-in-token-endpoint",
    "ensure-holder-of-key-required",
    "ensure-signed-client-assertion-with-RS256-fails",
    "ensure-client-assertion-in-token-endpoint",
    "ensure-client-assertion-with-exp-is-5-minutes-in-past-fails",
    "ensure-client-assertion-with-wrong-aud-fails",
    "ensure-client-assertion-with-no-sub-fails",
    "check-dpop-proof-nbf-exp",
    "ensure-dpopproof-with-iat-10seconds-before-succeeds",
    "ensure-dpopproof-with-iat-10seconds-after-succeeds",
    "dpop-negative-tests",
    "access-token-type-header-case-sensitivity",
];

const PLANS: [Plan; 11] = [
    Plan { module: "config", prefix: "oidcc-", count: 1, names: &[&["discovery-endpoint-verification"]] },
    Plan { module: "basic", prefix: "oidcc-", count: 35, names: &[BASIC] },
    Plan { module: "basic_registered", prefix: "oidcc-", count: 38, names: &[BASIC, REGISTERED] },
    Plan { module: "form_post", prefix: "oidcc-", count: 35, names: &[BASIC] },
    Plan { module: "form_post_registered", prefix: "oidcc-", count: 38, names: &[BASIC, REGISTERED] },
    Plan { module: "dynamic", prefix: "oidcc-", count: 21, names: &[DYNAMIC] },
    Plan { module: "third_party_login", prefix: "oidcc-", count: 2, names: &[THIRD_PARTY_LOGIN] },
    Plan { module: "rp_logout", prefix: "oidcc-", count: 11, names: &[RP_LOGOUT] },
    Plan { module: "backchannel", prefix: "oidcc-", count: 2, names: &[BACKCHANNEL] },
    Plan { module: "fapi2", prefix: "fapi2-security-profile-final-", count: 56, names: &[FAPI2] },
    Plan {
        module: "fapi2_client_credentials",
        prefix: "fapi2-security-profile-final-",
        count: 14,
        names: &[FAPI2_CLIENT_CREDENTIALS],
    },
];

/// The tests of this binary whose paths begin so; with `--ignored` those that are switched off.
fn listed(more: &[&str]) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--list", "--format", "terse", "oidf::"])
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_module_has_its_test() {
    let listed = listed(&[]);
    for Plan { module, prefix, count, names } in PLANS {
        let wanted: BTreeSet<_> = names
            .iter()
            .copied()
            .flatten()
            .map(|name| format!("{prefix}{name}").replace('-', "_").to_lowercase())
            .collect();
        assert_eq!(wanted.len(), count, "{module}");
        let start = format!("oidf::{module}::");
        let prefix = prefix.replace('-', "_");
        let there: BTreeSet<_> = listed
            .lines()
            .filter_map(|line| line.strip_suffix(": test")?.strip_prefix(&start)?.rsplit("::").next())
            .filter(|name| name.starts_with(&prefix))
            .map(str::to_owned)
            .collect();
        assert_eq!(there, wanted, "{module}");
    }
}

#[test]
fn none_is_switched_off() {
    assert_eq!(listed(&["--ignored"]), "");
}
