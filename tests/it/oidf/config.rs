//! `oidcc-config-certification-test-plan`.

use super::{browser::Mode, checks, relying_party::Suite};

/// The metadata document: members, types, addresses; RS256 for ID tokens; keys.
#[test]
fn oidcc_discovery_endpoint_verification() {
    let suite = Suite::new(Mode::Query);
    let metadata = checks::metadata(&suite);
    for (list, value) in [
        ("response_types_supported", "code"),
        ("subject_types_supported", "public"),
        ("id_token_signing_alg_values_supported", "RS256"),
        ("scopes_supported", "openid"),
        ("claims_supported", "sub"),
    ] {
        let named = metadata[list].as_array().unwrap().iter().any(|known| known == value);
        assert!(named, "{list} without {value}");
    }
    suite.key_set();
}
