//! `tsidecar resource`: what there is, and what a resource server has to publish (RFC 9728).

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{Daemon, Setup};

const TABLES: &str = r#"[[resource]]
uri = "https://*.tail.test/mcp"
aliases = ["https://*.tail.test"]
name = "Tools"
scopes = ["read", "write"]
default_scopes = ["read"]
clients = ["*"]
servers = ["tag:mcp"]
[[resource]]
uri = "urn:example:batch"
clients = ["web"]"#;

fn daemon() -> Daemon {
    Setup::default().tables(TABLES).start()
}

/// Standard output and standard error of a command that went well.
#[track_caller]
fn said(daemon: &Daemon, arguments: &[&str]) -> (String, String) {
    let output = daemon.run(arguments);
    assert!(output.status.success(), "{output:?}");
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn an_administrator_sees_every_resource() {
    let daemon = daemon();
    let (text, notes) = said(&daemon, &["resource", "list"]);
    assert_eq!(notes, "");
    assert_snapshot!(text, @"
    RESOURCE                    NAME   SCOPES        CLIENTS  SERVERS
    https://mcp.test/mcp               read write    cli web
    https://api.test                   admin         web
    https://*.tail.test/mcp     Tools  read (write)  *        tag:mcp
      also https://*.tail.test
    urn:example:batch                                web
    ");
    let (text, _) = said(&daemon, &["resource", "list", "--json"]);
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        found["resources"][2],
        json!({ "uri": "https://*.tail.test/mcp", "pattern": true, "name": "Tools", "aliases": ["https://*.tail.test"],
            "scopes": ["read", "write"], "default_scopes": ["read"], "clients": ["*"], "servers": ["tag:mcp"] })
    );
}

#[test]
fn a_resource_server_is_told_what_to_publish() {
    let daemon = daemon();
    let (document, notes) = said(&daemon, &["resource", "metadata", "https://Notes.tail.test/"]);
    assert_snapshot!(document, @r#"
    {
      "resource": "https://notes.tail.test/mcp",
      "resource_name": "Tools",
      "authorization_servers": [
        "https://idp.tail.test"
      ],
      "scopes_supported": [
        "read"
      ],
      "bearer_methods_supported": [
        "header"
      ]
    }
    "#);
    assert_snapshot!(notes, @r#"

    Serve this document as application/json at
      https://notes.tail.test/.well-known/oauth-protected-resource/mcp
    Answer requests without a good token with status 401 and
      WWW-Authenticate: Bearer resource_metadata="https://notes.tail.test/.well-known/oauth-protected-resource/mcp", scope="read"
    Take tokens only with exactly this issuer and this audience, signed with one of these keys:
      iss https://idp.tail.test
      aud https://notes.tail.test/mcp
      keys https://idp.tail.test/.well-known/jwks.json
    In Python (FastMCP and others) write the issuer as a plain string. AnyHttpUrl adds a slash, and clients then refuse it:
      authorization_servers=["https://idp.tail.test"]
    Left out, because clients ask for all that stand there; name them when they are needed, with status 403:
      WWW-Authenticate: Bearer error="insufficient_scope", scope="write", resource_metadata="https://notes.tail.test/.well-known/oauth-protected-resource/mcp"
    The resource is called https://notes.tail.test/mcp here; https://Notes.tail.test/ means it, too.
    "#);
    let (only, notes) = said(&daemon, &["resource", "metadata", "https://notes.tail.test/mcp", "--json"]);
    assert_eq!(
        (serde_json::from_str::<Value>(&only).unwrap(), notes.as_str()),
        (serde_json::from_str(&document).unwrap(), "")
    );
    let (plain, _) = said(&daemon, &["resource", "metadata", "https://api.test", "--json"]);
    assert_eq!(
        serde_json::from_str::<Value>(&plain).unwrap(),
        json!({ "resource": "https://api.test", "authorization_servers": ["https://idp.tail.test"],
            "scopes_supported": ["admin"], "bearer_methods_supported": ["header"] })
    );
}

#[test]
fn what_is_no_resource_has_no_metadata() {
    let daemon = daemon();
    let refused = |url: &str| {
        let output = daemon.run(&["resource", "metadata", url]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        String::from_utf8(output.stderr).unwrap()
    };
    assert_snapshot!(refused("https://unknown.test"), @r#"tsidecar: there is no resource "https://unknown.test": no [[resource]] of the configuration has it as its uri or as an alias, or has a pattern that it matches"#);
    assert_snapshot!(refused("https://*.tail.test/mcp"), @r#"tsidecar: there is no resource "https://*.tail.test/mcp": no [[resource]] of the configuration has it as its uri or as an alias, or has a pattern that it matches"#);
    assert_snapshot!(refused("urn:example:batch"), @"tsidecar: urn:example:batch is no URL, so no server can publish metadata for it");
}
