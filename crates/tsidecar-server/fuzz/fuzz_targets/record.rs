//! Records as they lie on disk: decoding never panics, and what can be read can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| assert!(tsidecar_server::store::survives(data)));
