//! Rules and resources of the main file.

use serde_json::Value;
use tsidecar_oauth::id::ClientId;
use tsidecar_oauth::policy::FileRule;
use tsidecar_oauth::resource::Resource;
use tsidecar_oauth::rule::Rule;
use tsidecar_oauth::scope::ScopeToken;
use tsidecar_oauth::uri::ResourceIndicator;

use super::raw;
use super::source::{ConfigError, Source, Step, Step::Index, Step::Key};
use super::value::Length;

pub(super) fn rule_of(source: &Source, index: usize, file: raw::Rule) -> Result<FileRule, ConfigError> {
    let at = |key| [Key("rule"), Index(index), Key(key)];
    if file.claims.values().any(has_date) {
        return Err(source.error_in(&at("claims"), "a date must be written as a string: JSON has no dates"));
    }
    if file.tagged_identity.is_some() && (file.tags.is_empty() || !file.clients.is_empty()) {
        let message = "needs tags, as in [\"tag:kiosk\"], and no clients: `allow` of each client says who may sign in to it";
        return Err(source.error_in(&at("tagged_identity"), message));
    }
    let key =
        if file.tagged_identity.is_some() && file.claims.is_empty() { "tagged_identity" } else { "claims" };
    let rule = Rule {
        claims: file.claims,
        include_in_user_info: file.claims_in_userinfo.unwrap_or(true),
        groups: file.add_groups,
        clients: file.clients,
        tagged_identity: file.tagged_identity,
        allow_external: file.allow_external,
        ..Rule::default()
    };
    let (rule, errors) = rule.checked();
    if let Some(error) = errors.first() {
        return Err(source.error_in(&at(key), error.to_string()));
    }
    if let Some(tag) = file.tags.iter().find(|tag| !tag.starts_with("tag:")) {
        return Err(source.error_in(&at("tags"), format!("{tag:?} is no tag; allowed: \"tag:NAME\"")));
    }
    Ok(FileRule { users: file.users, groups: file.groups, tags: file.tags, rule })
}

/// Tells whether a TOML date stands somewhere in a value; serde hands it over as an object with this private member.
fn has_date(value: &Value) -> bool {
    match value {
        Value::Object(members) => {
            members.keys().any(|name| name.starts_with("$__toml_private")) || members.values().any(has_date)
        }
        Value::Array(items) => items.iter().any(has_date),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

pub(super) fn resources(source: &Source, file: &[raw::Resource]) -> Result<Vec<Resource>, ConfigError> {
    let mut resources: Vec<Resource> = Vec::new();
    for (index, raw) in file.iter().enumerate() {
        let resource = resource(source, index, raw)?;
        let twin = resources.iter().find(|known| known.uri.matches(resource.uri.as_str()));
        if let Some(twin) = twin {
            let message = format!("{:?} means the same resource as {:?}", raw.uri, twin.uri.as_str());
            return Err(source.error_in(&[Key("resource"), Index(index), Key("uri")], message));
        }
        resources.push(resource);
    }
    Ok(resources)
}

fn resource(source: &Source, index: usize, raw: &raw::Resource) -> Result<Resource, ConfigError> {
    let at = |key| [Key("resource"), Index(index), Key(key)];
    let uri = ResourceIndicator::parse(&raw.uri)
        .map_err(|error| source.error_in(&at("uri"), format!("{:?} {error}", raw.uri)))?;
    let scopes = tokens(source, &at("scopes"), &raw.scopes)?;
    let default_scopes = match &raw.default_scopes {
        Some(names) => tokens(source, &at("default_scopes"), names)?,
        None => scopes.clone(),
    };
    if let Some(scope) = default_scopes.iter().find(|scope| !scopes.contains(scope)) {
        let message = format!("\"{scope}\" is not in scopes");
        return Err(source.error_in(&at("default_scopes"), message));
    }
    check_names(
        source,
        &at("clients"),
        &raw.clients,
        |id| id == "*" || is_client(id),
        "client ids, or \"*\"",
    )?;
    check_names(
        source,
        &at("servers"),
        &raw.servers,
        |id| id.strip_prefix("tag:").map_or_else(|| is_client(id), |name| !name.is_empty()),
        "client ids, or \"tag:NAME\"",
    )?;
    let alg = raw.signing_alg.unwrap_or_default();
    let access_token = raw.access_token_lifetime.map(|Length(length)| length);
    if access_token.is_some_and(|life| !(60..=86_400).contains(&life.as_secs())) {
        let message = "is out of range; allowed: \"1m\" to \"1d\"";
        return Err(source.error_in(&at("access_token_lifetime"), message));
    }
    let (clients, servers) = (raw.clients.clone(), raw.servers.clone());
    Ok(Resource { uri, scopes, default_scopes, clients, servers, alg, access_token })
}

fn is_client(id: &str) -> bool {
    ClientId::parse(id).is_ok() && !id.starts_with("tag:")
}

fn check_names(
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

fn tokens(source: &Source, steps: &[Step<'_>], names: &[String]) -> Result<Vec<ScopeToken>, ConfigError> {
    let token = |name: &String| match ScopeToken::parse(name) {
        Some(token) if !matches!(name.as_str(), "openid" | "offline_access") => Ok(token),
        Some(_) => {
            Err(source.error_in(steps, format!("{name:?} belongs to OpenID Connect, not to a resource")))
        }
        None => Err(source.error_in(
            steps,
            format!("{name:?} is no scope; allowed: printable ASCII without space, quote and backslash"),
        )),
    };
    names.iter().map(token).collect()
}
