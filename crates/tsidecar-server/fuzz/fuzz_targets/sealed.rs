//! Sealed texts: nothing opens but what was sealed, whatever is done to it.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tsidecar_oauth::{
    fresh::{FreshId, FreshNonce, FreshSecret},
    grant::Generation,
    id::{GrantId, Subject},
    key::KeyState,
    scope::Scope,
    seal::{CodeEpoch, RefreshToken, SealedAccess, SealingKey, SealingKeyId, SealingKeys},
    secret::{AuthorizationCode, TokenText},
    time::UnixTime,
    uri::Issuer,
};

struct Fixture {
    keys: SealingKeys,
    good: [String; 2],
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let issuer = Issuer::parse("https://idp.test").unwrap();
    let secret = FreshSecret::from_bytes([3; 32]);
    let key = SealingKey::derive(SealingKeyId::from_bytes([1; 4]), secret, &issuer, CodeEpoch(0));
    let keys = SealingKeys::new(vec![(key, KeyState::Active)]);
    let grant = GrantId::new(&Subject::user(1), FreshId::from_bytes([2; 16]));
    let access = SealedAccess {
        grant,
        scope: Scope::parse("openid"),
        key: None,
        issued_at: UnixTime::from_secs(1),
        expires_at: UnixTime::from_secs(2),
    };
    let access = keys.seal_access(&access, FreshNonce::from_bytes([4; 24])).unwrap();
    let refresh = keys.write_refresh(RefreshToken::new(grant, Generation::from_number(1))).unwrap();
    Fixture { good: [access.expose().to_owned(), refresh.expose().to_owned()], keys }
});

fuzz_target!(|data: (u8, u16, &str)| {
    let (way, place, text) = data;
    let fixture = &*FIXTURE;
    // The text itself, or one of the good ones with a part replaced.
    let shown = match fixture.good.get(usize::from(way)) {
        Some(good) => {
            let at = usize::from(place) % (good.len() + 1);
            format!("{}{text}{}", &good[..at], good.get(at + text.len()..).unwrap_or_default())
        }
        None => text.to_owned(),
    };
    assert!(fixture.keys.open_code(&AuthorizationCode::new(shown.clone())).is_err());
    assert!(fixture.keys.open_form(&shown).is_err() && fixture.keys.open_consent(&shown).is_err());
    assert!(fixture.keys.open_withdrawal(&shown).is_err() && fixture.keys.open_answer(&shown).is_err());
    assert!(fixture.keys.open_access(&TokenText::new(shown.clone())).is_err() || shown == fixture.good[0]);
    assert!(fixture.keys.read_refresh(&TokenText::new(shown.clone())).is_err() || shown == fixture.good[1]);
});
