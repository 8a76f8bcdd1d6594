//! What was settled at the first start, because relying parties remember it: issuer, e-mail suffix, local domains.

use serde::{Deserialize, Serialize};
use tsidecar_oauth::policy::ClaimsPolicy;
use tsidecar_oauth::uri::Issuer;

use super::file::checksum;
use crate::config::Config;

/// The name of the file.
pub(super) const FILE: &str = "pins.json";

/// The names of the first start. What the configuration says wins; a renamed node does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    /// The issuer, unless the configuration names one.
    pub issuer: Issuer,
    /// `[claims] email_suffix`, unless the configuration names one.
    pub email_suffix: String,
    /// `[claims] local_domains`, unless the configuration names some.
    pub local_domains: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    issuer: String,
    email_suffix: String,
    local_domains: Vec<String>,
    checksum: String,
}

/// The issuer of a node: `https://` and its DNS name, as tailscaled tells it, with or without a dot at its end.
pub fn issuer_of(dns_name: &str) -> Option<Issuer> {
    let name = dns_name.trim_end_matches('.').to_ascii_lowercase();
    Issuer::parse(&format!("https://{name}")).ok().filter(|_| !name.is_empty())
}

impl Pins {
    /// The pins of a first start. `tailnet` is the tailnet's name, which is a domain for some (`example.com`) and an
    /// address (`alice@example.com`) for others.
    pub fn first(config: &Config, issuer: Issuer, tailnet: &str) -> Self {
        let is_domain = tailnet.contains('.') && !tailnet.contains(['@', ' ', '/']);
        let own = if is_domain { vec![tailnet.to_ascii_lowercase()] } else { Vec::new() };
        Self {
            email_suffix: config.claims.email_suffix.clone().unwrap_or_else(|| issuer.host().to_owned()),
            local_domains: config.claims.local_domains.clone().unwrap_or(own),
            issuer,
        }
    }

    /// The issuer in force.
    pub fn issuer(&self, config: &Config) -> Issuer {
        config.issuer.clone().unwrap_or_else(|| self.issuer.clone())
    }

    /// How claims are made, in force.
    pub fn claims(&self, config: &Config) -> ClaimsPolicy {
        let claims = &config.claims;
        ClaimsPolicy {
            local_domains: claims.local_domains.clone().unwrap_or_else(|| self.local_domains.clone()),
            verified_domains: claims.verified_domains.clone(),
            email_suffix: claims.email_suffix.clone().unwrap_or_else(|| self.email_suffix.clone()),
            tsidp_claims: claims.tsidp_claims,
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let stored: Stored = serde_json::from_str(text).ok()?;
        let pins = Self {
            issuer: Issuer::parse(&stored.issuer).ok()?,
            email_suffix: stored.email_suffix,
            local_domains: stored.local_domains,
        };
        (stored.format == 1 && stored.checksum == pins.checksum()).then_some(pins)
    }

    pub(super) fn to_json(&self) -> Result<String, serde_json::Error> {
        let stored = Stored {
            format: 1,
            issuer: self.issuer.as_str().to_owned(),
            email_suffix: self.email_suffix.clone(),
            local_domains: self.local_domains.clone(),
            checksum: self.checksum(),
        };
        serde_json::to_string_pretty(&stored).map(|text| text + "\n")
    }

    fn checksum(&self) -> String {
        let mut parts = vec!["tsidecar pins 1", self.issuer.as_str(), &self.email_suffix];
        parts.extend(self.local_domains.iter().map(String::as_str));
        checksum(&parts)
    }
}
