//! Queries and form bodies: never a panic, no name twice, no value with a NUL. And `claims`, the one parameter that is JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tsidecar_oauth::{authorize::Asked, params::Params};

/// What a request asks of a person by `claims` and its like: read without a panic, and twice the same.
fn asked(params: &Params) {
    let read = || format!("{:?}", Asked::read(params));
    assert_eq!(read(), read());
}

fuzz_target!(|data: &[u8]| {
    let claims = String::from_utf8_lossy(data).into_owned();
    if let Ok(params) = Params::from_pairs(vec![("claims".to_owned(), claims)]) {
        asked(&params);
    }
    let Ok(params) = Params::parse(data) else { return };
    for name in ["client_id", "scope", "state", "resource"] {
        let all: Vec<&str> = params.all(name).collect();
        assert_eq!(all.first().copied(), params.get(name));
        assert!(name == "resource" || all.len() <= 1);
        assert!(all.iter().all(|value| !value.is_empty() && !value.contains('\0')));
    }
    asked(&params);
});
