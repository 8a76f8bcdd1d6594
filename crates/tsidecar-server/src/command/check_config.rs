//! `tsidecar check-config`: reads the configuration as the daemon would. Needs no daemon.

use std::path::Path;

use serde_json::json;

use super::ask::CommandError;
use super::output::{Output, count};
use crate::config::Config;
use crate::peer::Plan;

/// Runs the command.
pub fn run(path: &Path) -> Result<Output, CommandError> {
    let config = Config::check(path)?;
    Plan::new(&config.listen)?.look()?;
    let clients: Vec<&str> = config.clients.iter().map(|(spec, _)| spec.id.as_str()).collect();
    let mut text = format!(
        "{} is valid: {}, {}, {}.",
        path.display(),
        count(clients.len(), "client"),
        count(config.resources.len(), "resource"),
        count(config.rules.len(), "rule"),
    );
    for warning in &config.warnings {
        text.push_str("\nwarning: ");
        text.push_str(warning);
    }
    let json = json!({
        "valid": true,
        "file": path,
        "clients": clients,
        "resources": config.resources.iter().map(|resource| resource.name().as_str()).collect::<Vec<_>>(),
        "rules": config.rules.len(),
        "warnings": config.warnings,
    });
    Ok(Output::done(text, &json))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::exit::Exit;

    #[test]
    fn a_configuration_is_judged_without_a_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tsidecar.toml");
        std::fs::write(
            &path,
            "[[client]]\nid = \"a\"\npublic = true\nredirect_uris = [\"http://nas.lan/cb\"]\n",
        )
        .unwrap();
        let output = run(&path).unwrap();
        let text = output.text.replace(&folder.path().display().to_string(), "/etc");
        insta::assert_snapshot!(text, @r#"
        /etc/tsidecar.toml is valid: 1 client, 0 resources, 0 rules.
        warning: /etc/tsidecar.toml:4: [[client]] redirect_uris: "http://nas.lan/cb": codes travel in clear text over the network; https is better
        "#);
        assert_eq!(output.json["clients"], json!(["a"]));
        std::fs::write(&path, "[listen]\nsocket = \"/tmp/tsidecar-nowhere/serve.sock\"\n").unwrap();
        let error = run(&path).unwrap_err();
        assert_eq!(error.exit(), Exit::Config);
        assert!(
            error.to_string().contains("a socket below /tmp could be reached through Tailscale SSH"),
            "{error}"
        );
        std::fs::write(&path, "x = 1").unwrap();
        assert_eq!(run(&path).unwrap_err().exit(), Exit::Config);
        assert_eq!(run(&folder.path().join("none.toml")).unwrap_err().exit(), Exit::Config);
    }
}
