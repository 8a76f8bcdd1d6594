//! Client authentication: any Authorization header and body; only the right secret proves anything.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use tsidecar_oauth::{
    client::{Client, ClientSpec},
    client_auth::{Judging, PresentedCredentials},
    params::Params,
    secret::ClientSecret,
    time::UnixTime,
    uri::Issuer,
    userinfo::PresentedToken,
};

static CLIENT: LazyLock<Arc<Client>> = LazyLock::new(|| {
    let secret = ClientSecret::new("a secret that no mutation of the corpus ever guesses: 7f3a9c".to_owned());
    let spec = ClientSpec {
        id: "c".to_owned(),
        name: "c".to_owned(),
        secrets: vec![secret.digest()],
        redirect_uris: vec!["https://a.test/cb".to_owned()],
        ..ClientSpec::default()
    };
    Arc::new(Client::new(spec, UnixTime::default()).unwrap())
});

fuzz_target!(|data: (Option<&str>, &[u8])| {
    let (header, body) = data;
    if let Ok(PresentedToken { token, .. }) = PresentedToken::read(header, None) {
        assert!(!token.expose().is_empty() && !token.expose().contains(' '));
    }
    let Ok(params) = Params::parse(body) else { return };
    if let Ok(presented) = PresentedCredentials::read(header, &params) {
        let issuer = Issuer::parse("https://idp.test").unwrap();
        let judging = Judging { keys: None, issuer: &issuer, now: UnixTime::default() };
        assert!(presented.verify(Some(&CLIENT), judging).is_err());
    }
});
