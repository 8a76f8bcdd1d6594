//! Rules of token exchange (`[[exchange]]`).

use tsidecar_oauth::id::ClientId;
use tsidecar_oauth::scope::ScopeToken;
use tsidecar_oauth::token::exchange::ExchangeRule;
use tsidecar_oauth::uri::ResourceIndicator;

use super::raw;
use super::source::{ConfigError, Source, Step, Step::Index, Step::Key};

/// Reads all of them, in order.
pub(super) fn rules(source: &Source, file: &[raw::Exchange]) -> Result<Vec<ExchangeRule>, ConfigError> {
    file.iter().enumerate().map(|(index, raw)| rule(source, index, raw)).collect()
}

fn rule(source: &Source, index: usize, raw: &raw::Exchange) -> Result<ExchangeRule, ConfigError> {
    let at = |key| [Key("exchange"), Index(index), Key(key)];
    let is_client = |name: &str| ClientId::parse(name).is_ok();
    let is_resource = |name: &str| ResourceIndicator::parse(name).is_ok();
    check(source, &at("callers"), &raw.callers, is_client, "client ids, or \"tag:NAME\"")?;
    check(
        source,
        &at("from"),
        &raw.from,
        |name| is_resource(name) || is_client(name),
        "resources, or client ids",
    )?;
    check(source, &at("to"), &raw.to, is_resource, "resources, as in [[resource]] uri")?;
    let scopes = raw.scopes.as_deref().unwrap_or_default();
    let is_scope = |name: &str| ScopeToken::parse(name).is_some();
    check(source, &at("scopes"), scopes, is_scope, "scopes of the resources in to")?;
    for (key, list) in [("callers", &raw.callers), ("to", &raw.to)] {
        if list.is_empty() {
            return Err(source.error_in(&at(key), "names nobody: a rule of exchange needs at least one"));
        }
    }
    Ok(ExchangeRule {
        callers: raw.callers.clone(),
        from: raw.from.clone(),
        to: raw.to.clone(),
        users: raw.users.clone(),
        groups: raw.groups.clone(),
        scopes: raw.scopes.clone(),
    })
}

fn check(
    source: &Source,
    steps: &[Step<'_>],
    names: &[String],
    fits: impl Fn(&str) -> bool,
    allowed: &str,
) -> Result<(), ConfigError> {
    match names.iter().find(|name| !fits(name)) {
        Some(name) => Err(source.error_in(steps, format!("{name:?} does not fit; allowed: {allowed}"))),
        None => Ok(()),
    }
}
