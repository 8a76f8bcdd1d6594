//! The configuration file: a readable error or a valid configuration, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tsidecar_server::config::Config;

fuzz_target!(|text: &str| {
    // Secrets are files, which a fuzz target leaves alone.
    if text.contains("secret_file") {
        return;
    }
    if let Err(error) = Config::from_text("fuzz.toml", text) {
        assert!(!error.to_string().is_empty());
    }
});
