//! `tsidecar whois ADDR`: for whom the running daemon takes requests from an address, and where that person may sign in.

use std::net::IpAddr;

use super::ask::{CommandError, Daemon};
use super::output::{Output, columns, count, plain};
use crate::endpoint::admin::shape::WhoisAnswer;

/// Runs the command.
pub async fn run(daemon: &Daemon, address: IpAddr) -> Result<Output, CommandError> {
    let answer: WhoisAnswer =
        daemon.get(&format!("/admin/whois?addr={}", super::ask::segment(&address.to_string()))).await?;
    Ok(Output::done(describe(&answer), &answer))
}

fn describe(answer: &WhoisAnswer) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![format!("  {name}"), value]);
    if let Some(subject) = &answer.subject {
        row("subject", subject.clone());
    }
    if let Some(login) = &answer.login {
        row("login", login.clone());
    }
    if let Some(device) = &answer.device {
        row("device", format!("{} ({})", device.name, device.id));
        row("addresses", device.addresses.join(", "));
        if !device.tags.is_empty() {
            row("tags", device.tags.join(", "));
        }
    }
    if !answer.groups.is_empty() {
        row("groups", answer.groups.join(", "));
    }
    if answer.device.is_some() {
        row("capability", count(answer.rules, "rule"));
    }
    for (client, judged) in &answer.clients {
        row("client", format!("{client}: {judged}"));
    }
    let first = headline(answer);
    if rows.is_empty() { first } else { format!("{first}\n{}", columns(&rows)) }
}

fn headline(answer: &WhoisAnswer) -> String {
    let name = answer.name.as_ref().or(answer.login.as_ref()).or(answer.subject.as_ref());
    let name = plain(name.map_or("", String::as_str));
    let reason = answer.reason.as_deref().unwrap_or_default();
    match answer.kind.as_str() {
        "person" => format!("{} is {name}", answer.address),
        "external" => format!(
            "{} is {name}, of another tailnet: signs in only where a rule allows external people",
            answer.address
        ),
        "tagged" => format!("{} is {name}: a tagged node to which a rule gives an identity", answer.address),
        "workload" => {
            format!(
                "{} is a tagged node: nobody, unless a [[workload]] or a rule names its tag",
                answer.address
            )
        }
        "refused" => format!("{} is taken for nobody: {reason}", answer.address),
        _ => format!("{} is unknown: {reason}", answer.address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(value: serde_json::Value) -> String {
        describe(&serde_json::from_value(value).unwrap())
    }

    #[test]
    fn people_read_who_it_is_and_where_they_may_go() {
        let text = answer(serde_json::json!({
            "address": "100.64.0.2", "kind": "person", "subject": "userid:1", "login": "alice@example.com",
            "name": "Alice\u{7}", "groups": ["group:eng"], "rules": 2,
            "device": {"id": "nA", "name": "laptop.tail.test", "addresses": ["100.64.0.2/32"], "tags": []},
            "clients": {"grafana": "allowed", "vault": "you may not sign in to this application"},
        }));
        insta::assert_snapshot!(text, @"
        100.64.0.2 is Alice�
          subject     userid:1
          login       alice@example.com
          device      laptop.tail.test (nA)
          addresses   100.64.0.2/32
          groups      group:eng
          capability  2 rules
          client      grafana: allowed
          client      vault: you may not sign in to this application
        ");
        let text = answer(serde_json::json!({
            "address": "100.64.0.9", "kind": "unknown", "reason": "nobody in the tailnet has this address",
        }));
        assert_eq!(text, "100.64.0.9 is unknown: nobody in the tailnet has this address");
    }
}
