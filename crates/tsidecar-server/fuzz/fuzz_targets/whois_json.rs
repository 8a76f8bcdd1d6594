//! What tailscaled says: whois, status, prefs, serve config, the bus, and the rules inside; never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tsidecar_localapi::{Notify, Prefs, ServeConfig, Status, WhoIs};
use tsidecar_oauth::rule::parse_rules;

fuzz_target!(|data: &[u8]| {
    let _ = serde_json::from_slice::<Status>(data);
    let _ = serde_json::from_slice::<Prefs>(data);
    let _ = serde_json::from_slice::<Notify>(data);
    if let Ok(config) = serde_json::from_slice::<ServeConfig>(data) {
        assert!(config.targets().count() == 0 || !config.is_empty());
    }
    if let Ok(whois) = serde_json::from_slice::<WhoIs>(data) {
        let _ = (whois.node.is_tagged(), whois.node.routes_for_others());
        for (_, values) in whois.cap_map.iter() {
            let (rules, _) = parse_rules(values.iter().map(|value| value.get()));
            for rule in rules {
                for reserved in ["iss", "sub", "aud", "exp", "nonce", "email", "act"] {
                    assert!(!rule.extra_claims.contains_key(reserved) && !rule.claims.contains_key(reserved));
                }
            }
        }
    }
});
