//! `[outbound]`: whom we believe when we fetch, and the one exception for tests.

use tsidecar_oauth::uri::FetchUrl;

use super::build::absolute;
use super::source::{ConfigError, Source, Step::Key};
use super::{Config, raw};
use crate::outbound::Authorities;

/// `[outbound]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboundConfig {
    /// Authorities for hosts that an administrator wrote down, on top of the host's.
    pub authorities: Option<Authorities>,
    /// The exception for tests.
    pub test: Option<TestHost>,
}

/// A host that is contacted on loopback, for tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestHost {
    /// Its name: `localhost`, or one below `.test`, which nobody can own (RFC 6761 §6.2).
    pub name: String,
    /// Its port.
    pub port: u16,
    /// Whom we believe for it, and nobody else.
    pub authorities: Authorities,
}

impl TestHost {
    /// Whether a URL leads to this host: name and port.
    pub fn is(&self, url: &FetchUrl) -> bool {
        url.host() == self.name && url.port() == self.port
    }
}

/// Overlays the section on the defaults.
pub(super) fn overlay(source: &Source, file: &raw::Outbound, config: &mut Config) -> Result<(), ConfigError> {
    if let Some(path) = &file.ca_file {
        config.outbound.authorities = Some(authorities(source, "ca_file", path)?);
    }
    config.outbound.test = match (&file.test_host, &file.test_ca) {
        (None, None) => None,
        (Some(host), Some(ca)) => {
            let (name, port) = test_host(source, host)?;
            let authorities = authorities(source, "test_ca", ca)?;
            config.warnings.push(source.warning_in(
                &[Key("outbound"), Key("test_host")],
                &format!("{host:?} is contacted on this host itself; this is for tests only"),
            ));
            Some(TestHost { name, port, authorities })
        }
        (Some(_), None) => {
            return Err(source.error_in(&[Key("outbound"), Key("test_host")], "needs test_ca beside it"));
        }
        (None, Some(_)) => {
            return Err(source.error_in(&[Key("outbound"), Key("test_ca")], "needs test_host beside it"));
        }
    };
    Ok(())
}

fn test_host(source: &Source, text: &str) -> Result<(String, u16), ConfigError> {
    let url = FetchUrl::parse(&format!("https://{text}/")).ok();
    let url = url.filter(|url| text == format!("{}:{}", url.host(), url.port()));
    let nobodys =
        |host: &str| host == "localhost" || host.rsplit_once('.').is_some_and(|(_, top)| top == "test");
    let url = url.filter(|url| nobodys(url.host()));
    let wrong = || {
        let message = format!("{text:?} cannot be it; allowed: \"NAME.test:PORT\", \"localhost:PORT\"");
        source.error_in(&[Key("outbound"), Key("test_host")], message)
    };
    url.map(|url| (url.host().to_owned(), url.port())).ok_or_else(wrong)
}

fn authorities(source: &Source, key: &str, text: &str) -> Result<Authorities, ConfigError> {
    let steps = [Key("outbound"), Key(key)];
    let path = absolute(source, &steps, text)?;
    let pem = std::fs::read(&path)
        .map_err(|error| source.error_in(&steps, format!("{text}: cannot be read: {error}")))?;
    Authorities::from_pem(&pem).map_err(|error| source.error_in(&steps, format!("{text} {error}")))
}
