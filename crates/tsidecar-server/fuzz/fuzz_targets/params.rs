//! Queries and form bodies: never a panic, no name twice, no value with a NUL.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tsidecar_oauth::params::Params;

fuzz_target!(|data: &[u8]| {
    let Ok(params) = Params::parse(data) else { return };
    for name in ["client_id", "scope", "state", "resource"] {
        let all: Vec<&str> = params.all(name).collect();
        assert_eq!(all.first().copied(), params.get(name));
        assert!(name == "resource" || all.len() <= 1);
        assert!(all.iter().all(|value| !value.is_empty() && !value.contains('\0')));
    }
});
