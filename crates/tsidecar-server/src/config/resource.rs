//! Resources of the main file.

use tsidecar_oauth::id::ClientId;
use tsidecar_oauth::resource::{Entry, EntryError, ResourceSpec};
use tsidecar_oauth::scope::ScopeToken;

use super::raw;
use super::source::{ConfigError, Source, Step, Step::Index, Step::Key};
use super::value::Length;

/// Reads the registry. Names that one indicator could mean alike are refused: nobody could say which entry counts.
pub(super) fn resources(source: &Source, file: &[raw::Resource]) -> Result<Vec<Entry>, ConfigError> {
    let mut entries: Vec<Entry> = Vec::new();
    for (index, raw) in file.iter().enumerate() {
        let entry = entry(source, index, raw)?;
        if let Some((ours, theirs)) = entries.iter().find_map(|known| entry.clash(known)) {
            let key = if ours == entry.name() { "uri" } else { "aliases" };
            let message = format!("{:?} means the same resource as {:?}", ours.as_str(), theirs.as_str());
            return Err(source.error_in(&[Key("resource"), Index(index), Key(key)], message));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn entry(source: &Source, index: usize, raw: &raw::Resource) -> Result<Entry, ConfigError> {
    let at = |key| [Key("resource"), Index(index), Key(key)];
    if raw.name.as_ref().is_some_and(|name| name.is_empty() || name.chars().any(char::is_control)) {
        return Err(source.error_in(&at("name"), "must be a text without control characters"));
    }
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
        |id| id == "*" || is_client(id) || is_tag(id),
        "client ids, \"tag:NAME\" of a [[workload]], or \"*\"",
    )?;
    check_names(
        source,
        &at("servers"),
        &raw.servers,
        |id| is_client(id) || is_tag(id),
        "client ids, or \"tag:NAME\"",
    )?;
    let acts = raw.may_act.as_slice();
    let may = |id: &str| id.strip_prefix("tag:").map_or_else(|| is_client(id), |name| !name.is_empty());
    check_names(source, &at("may_act"), acts, may, "a client id, or \"tag:NAME\"")?;
    let alg = raw.signing_alg.unwrap_or_default();
    let access_token = raw.access_token_lifetime.map(|Length(length)| length);
    if access_token.is_some_and(|life| !(60..=86_400).contains(&life.as_secs())) {
        let message = "is out of range; allowed: \"1m\" to \"1d\"";
        return Err(source.error_in(&at("access_token_lifetime"), message));
    }
    let (name, clients, servers) = (raw.name.clone(), raw.clients.clone(), raw.servers.clone());
    let may_act = raw.may_act.clone();
    let spec = ResourceSpec { name, scopes, default_scopes, clients, servers, may_act, alg, access_token };
    let of_alias = |place: usize, error: String| {
        let alias = raw.aliases.get(place).map_or("", String::as_str);
        source.error_in(&at("aliases"), format!("{alias:?} {error}"))
    };
    Entry::new(&raw.uri, &raw.aliases, spec).map_err(|error| match error {
        EntryError::Name(error) => source.error_in(&at("uri"), format!("{:?} {error}", raw.uri)),
        EntryError::Alias(place, error) => of_alias(place, error.to_string()),
        EntryError::Stars(place) | EntryError::Repeated(place) => of_alias(place, error.to_string()),
    })
}

fn is_client(id: &str) -> bool {
    ClientId::parse(id).is_ok() && !id.starts_with("tag:")
}

/// Tells whether a text is a tag, which may be a client.
pub(super) fn is_tag(id: &str) -> bool {
    ClientId::parse(id).is_ok() && id.strip_prefix("tag:").is_some_and(|name| !name.is_empty())
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

pub(super) fn tokens(
    source: &Source,
    steps: &[Step<'_>],
    names: &[String],
) -> Result<Vec<ScopeToken>, ConfigError> {
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
