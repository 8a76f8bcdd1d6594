//! Redirect URIs, issuers, resource indicators and what we fetch: what is registered matches itself, and what matches differs in
//! nothing but the port of a loopback address and an empty path; a fetch leads to the host that stands in the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tsidecar_oauth::resource::{Entry, ResourceSpec, Resources};
use tsidecar_oauth::uri::{FetchUrl, Issuer, RedirectUri, ResourceIndicator};

fuzz_target!(|data: (&str, &str)| {
    let (registered, presented) = data;
    if let Ok(issuer) = Issuer::parse(registered) {
        assert_eq!(issuer.as_str(), registered);
        assert!(!registered.ends_with('/') && issuer.endpoint("/x").starts_with(registered));
    }
    if let Ok(resource) = ResourceIndicator::parse(registered) {
        assert!(resource.matches(registered) && !registered.contains('#'));
    }
    // A name of the registry, pattern or not: whatever it knows has one spelling, which is what was presented.
    if let Ok(entry) = Entry::new(registered, &[], ResourceSpec::default()) {
        let resources = Resources::new(vec![entry]);
        if let Some(resource) = resources.lookup(presented) {
            assert!(resource.uri().matches(presented), "{} {presented}", resource.uri());
            let again = resources.of_audience(resource.uri().as_str()).expect("an audience is its own name");
            assert_eq!(again.uri(), resource.uri());
        }
    }
    if let Ok(url) = FetchUrl::parse(presented) {
        let authority =
            presented["https://".len()..].split(['/', '?']).next().unwrap_or_default().to_ascii_lowercase();
        let port = authority.strip_prefix(url.host()).expect("the host stands first");
        assert!(port.strip_prefix(':').unwrap_or(port).bytes().all(|b| b.is_ascii_digit()));
        assert!(url.target().starts_with('/') && url.port() != 0);
    }
    let Ok(uri) = RedirectUri::parse(registered) else { return };
    assert!(uri.matches(registered));
    assert!(!registered.contains('#') && registered.is_ascii());
    for never in ["javascript:", "data:", "vbscript:", "file:", "blob:", "about:"] {
        assert!(!registered.to_ascii_lowercase().starts_with(never));
    }
    if uri.matches(presented) && registered != presented {
        let loopback = ["http://127.0.0.1", "http://[::1]", "http://localhost"];
        let host = loopback.iter().find(|host| registered.starts_with(**host)).expect("only loopback varies");
        assert!(presented.starts_with(host));
        let path = |uri: &str| {
            let rest = uri[host.len()..].trim_start_matches(|c: char| c == ':' || c.is_ascii_digit());
            if rest.is_empty() { "/".to_owned() } else { rest.to_owned() }
        };
        assert_eq!(path(registered), path(presented));
    }
});
