//! What clients say of themselves: never a panic, what is echoed can be registered again and comes out the same, and no stranger gets
//! a scheme that a browser would run.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use tsidecar_oauth::client::{Client, PkceRule};
use tsidecar_oauth::id::ClientId;
use tsidecar_oauth::metadata::{ClientMetadata, LONGEST_METADATA, Source, echo, names_all};
use tsidecar_oauth::provenance::{Registrar, Registration};
use tsidecar_oauth::secret::ClientSecret;
use tsidecar_oauth::time::UnixTime;

/// The client that metadata makes, and what it is told.
fn register(data: &[u8]) -> Option<(Client, String)> {
    let metadata = ClientMetadata::parse(data, Source::Registration).ok()?;
    let secret = metadata.needs_secret().then(|| ClientSecret::new("s".repeat(43)).digest());
    let beside = metadata.beside();
    let spec =
        metadata.into_spec(&ClientId::parse("fuzz").ok()?, secret.into_iter().collect(), PkceRule::Required);
    let registration = Registration { by: Registrar::Outside, at: UnixTime::from_secs(1) };
    let client = Client::registered(spec, registration).ok()?;
    let told = Value::Object(echo(client.spec(), &beside)).to_string();
    Some((client, told))
}

fuzz_target!(|data: &[u8]| {
    let _ = ClientMetadata::parse(data, Source::Document);
    let _ = names_all(data, &["https://app.test/cb".to_owned()]);
    let Some((client, told)) = register(data) else { return };
    for uri in client.redirect_uris() {
        let scheme = uri.as_str().split(':').next().unwrap_or_default().to_ascii_lowercase();
        assert!(!["javascript", "data", "file", "blob", "vbscript", "about"].contains(&scheme.as_str()));
        assert!(!uri.is_plain_http());
    }
    assert!(client.backchannel().is_none());
    let members: Map<String, Value> = serde_json::from_str(&told).expect("an object");
    assert!(members.values().all(|value| !value.is_null()));
    if told.len() > LONGEST_METADATA {
        return;
    }
    let (_, again) = register(told.as_bytes()).expect("what was told is good");
    assert_eq!(serde_json::from_str::<Value>(&told).ok(), serde_json::from_str::<Value>(&again).ok());
});
