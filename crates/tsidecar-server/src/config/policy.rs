//! Rules of the main file.

use serde_json::Value;
use tsidecar_oauth::policy::FileRule;
use tsidecar_oauth::rule::{Rule, RuleError};

use super::raw;
use super::source::{ConfigError, Source, Step::Index, Step::Key};

pub(super) fn rule_of(source: &Source, index: usize, file: raw::Rule) -> Result<FileRule, ConfigError> {
    let at = |key| [Key("rule"), Index(index), Key(key)];
    if file.claims.values().any(has_date) {
        return Err(source.error_in(&at("claims"), "a date must be written as a string: JSON has no dates"));
    }
    if file.tagged_identity.is_some() && (file.tags.is_empty() || !file.clients.is_empty()) {
        let message = "needs tags, as in [\"tag:kiosk\"], and no clients: `allow` of each client says who may sign in to it";
        return Err(source.error_in(&at("tagged_identity"), message));
    }
    if file.allow_dcr && !file.clients.is_empty() {
        let message = "true: needs a rule without clients: a client that is to be registered has no id yet";
        return Err(source.error_in(&at("allow_dcr"), message));
    }
    let rule = Rule {
        claims: file.claims,
        include_in_user_info: file.claims_in_userinfo.unwrap_or(true),
        groups: file.add_groups,
        // The matchers of the block say for whom the rule is.
        users: vec!["*".to_owned()],
        resources: file.resources,
        scopes: file.scopes,
        clients: file.clients,
        tagged_identity: file.tagged_identity,
        allow_external: file.allow_external,
        allow_dcr: file.allow_dcr,
        ..Rule::default()
    };
    let (rule, errors) = rule.checked();
    if let Some(error) = errors.first() {
        let key = match error {
            RuleError::Resource(..) | RuleError::Pattern(_) => "resources",
            RuleError::Scope(_) => "scopes",
            RuleError::TaggedSubject(_) => "tagged_identity",
            RuleError::Form(_) | RuleError::Reserved(_) | RuleError::EmailVerified => "claims",
        };
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
