//! The log, to standard error: text for people, one JSON object a line for machines.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat, LogLevel};

/// Opens the log of this process. Without effect when it is open already.
pub fn init(config: LogConfig) {
    let builder = tracing_subscriber::fmt()
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .with_env_filter(filter(config.level));
    // An error means that somebody (a test) opened it before.
    let _ = match config.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// Ours at the configured level; dependencies at warnings, unless everything is wanted.
fn filter(level: LogLevel) -> EnvFilter {
    let level = level.as_str();
    match level {
        "trace" | "error" => EnvFilter::new(level),
        _ => {
            EnvFilter::new(format!("warn,tsidecar={level},tsidecar_server={level},tsidecar_localapi={level}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_speak_at_their_level_and_others_only_warn() {
        let text = |level| filter(level).to_string();
        assert!(text(LogLevel::Debug).contains("tsidecar_server=debug"));
        assert!(text(LogLevel::Debug).contains("tsidecar=debug"), "the audit target is tsidecar::audit");
        assert!(text(LogLevel::Info).contains("warn"));
        assert_eq!(text(LogLevel::Error), "error");
        assert_eq!(text(LogLevel::Trace), "trace");
    }
}
