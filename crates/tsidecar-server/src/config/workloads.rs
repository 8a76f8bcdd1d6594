//! Workloads of the main file: tags that are clients of their own.

use tsidecar_oauth::client::{Client, ClientError, Lives};
use tsidecar_oauth::id::DeviceId;
use tsidecar_oauth::resource::Entry;
use tsidecar_oauth::workload::WorkloadRule;

use super::resource::{is_tag, tokens};
use super::source::{ConfigError, Source, Step, Step::Index, Step::Key};
use super::value::Length;
use super::{Config, raw};

/// Adds the workloads; every tag that a resource names among its clients, or a rule of exchange among its callers, must be one.
pub(super) fn overlay(
    source: &Source,
    file: &[raw::Workload],
    config: &mut Config,
) -> Result<(), ConfigError> {
    for (index, raw) in file.iter().enumerate() {
        let at = |key| [Key("workload"), Index(index), Key(key)];
        let rule = workload(source, index, raw)?;
        if config.workloads.iter().any(|known| known.tag == rule.tag) {
            return Err(source.error_in(&at("tag"), format!("\"{}\" is a workload already", rule.tag)));
        }
        let is_named = |names: &[String]| names.contains(&rule.tag);
        let by_resource =
            |resource: &Entry| is_named(&resource.spec().clients) || is_named(&resource.spec().servers);
        let exchanges = config.exchanges.iter().any(|exchange| is_named(&exchange.callers));
        if !exchanges && !config.resources.iter().any(by_resource) {
            let message = format!(
                "\"{}\": no [[resource]] names it in clients or servers and no [[exchange]] in callers, so it gets no token",
                rule.tag
            );
            config.warnings.push(source.warning_in(&at("tag"), &message));
        }
        config.workloads.push(rule);
    }
    for (index, resource) in config.resources.iter().enumerate() {
        all_known(
            source,
            &[Key("resource"), Index(index), Key("clients")],
            &resource.spec().clients,
            config,
        )?;
    }
    for (index, exchange) in config.exchanges.iter().enumerate() {
        all_known(source, &[Key("exchange"), Index(index), Key("callers")], &exchange.callers, config)?;
    }
    Ok(())
}

fn all_known(
    source: &Source,
    steps: &[Step<'_>],
    ids: &[String],
    config: &Config,
) -> Result<(), ConfigError> {
    let is_known = |tag: &&String| config.workloads.iter().any(|known| known.tag == **tag);
    match ids.iter().filter(|id| id.starts_with("tag:")).find(|tag| !is_known(tag)) {
        Some(tag) => {
            let message =
                format!("there is no [[workload]] with tag = {tag:?}, which says what nodes that is");
            Err(source.error_in(steps, message))
        }
        None => Ok(()),
    }
}

fn workload(source: &Source, index: usize, raw: &raw::Workload) -> Result<WorkloadRule, ConfigError> {
    let at = |key| [Key("workload"), Index(index), Key(key)];
    if !is_tag(&raw.tag) {
        return Err(source.error_in(&at("tag"), format!("{:?} is no tag; allowed: \"tag:NAME\"", raw.tag)));
    }
    let node = |id: &String| {
        let wrong =
            |error| format!("{id:?} {error}; allowed: stable ids, as `tsidecar whois ADDRESS` tells them");
        DeviceId::parse(id).map_err(|error| source.error_in(&at("nodes"), wrong(error)))
    };
    let nodes = raw.nodes.iter().map(node).collect::<Result<Vec<_>, _>>()?;
    let scopes = raw.scopes.as_ref().map(|names| tokens(source, &at("scopes"), names)).transpose()?;
    let access_token = raw.access_token_lifetime.map(|Length(length)| length);
    let access_token = access_token.unwrap_or(Lives::default().access_token);
    let rule = WorkloadRule { tag: raw.tag.clone(), nodes, routes: raw.routes, scopes, access_token };
    match Client::of_workload(rule.clone()) {
        Ok(_) => Ok(rule),
        Err(ClientError::Life { name, .. }) => {
            Err(source.error_in(&at(name), "is out of range; allowed: \"1m\" to \"1d\""))
        }
        Err(error) => Err(source.error_in(&at("tag"), error.to_string())),
    }
}
