//! The configuration as a whole: every error as the message that an administrator reads, and the shipped file.

#![expect(clippy::too_many_lines, reason = "whole messages as snapshots are long")]

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;

use tsidecar_oauth::id::ClientId;

use super::*;

const SHIPPED: &str = include_str!("../../../../config/tsidecar.toml");

fn read(text: &str) -> Result<Config, ConfigError> {
    let credentials = clients::Credentials { folder: None, required: true };
    Config::from_source(&Source::from_text("t.toml", text), &credentials)
}

fn errors(texts: &[&str]) -> String {
    let mut all = String::new();
    for text in texts {
        match read(text) {
            Ok(_) => writeln!(all, "accepted: {text}").unwrap(),
            Err(error) => writeln!(all, "{error}").unwrap(),
        }
    }
    all
}

fn client(lines: &str) -> String {
    format!("[[client]]\nid = \"a\"\npublic = true\nredirect_uris = [\"https://a.test/cb\"]\n{lines}\n")
}

#[test]
fn errors_of_options() {
    insta::assert_snapshot!(errors(&[
        "issuer = \"https://IDP.tail.test/\"",
        "isuer = 1",
        "[listen]\nsocket = \"/run/a.sock\"\ntailscale_ssh = \"maybe\"",
        "[listen]\ntailscale_shh = \"trusted\"",
        "[listen]\nsocket = \"serve.sock\"",
        "[listen]\nsocket = \"/run/../tmp/a\"",
        "[listen]\n\nsocket = 5",
        "[listen]\nadmin_socket = \"/run/tsidecar/serve.sock\"",
        "[listen]\ntailscaled_uid = 65534",
        "[listen]\ntailscaled_uid = -1",
        "[[listen.service]]\nname = \"login\"\nsocket = \"/run/tsidecar/s\"",
        "[[listen.service]]\nname = \"svc:login\"",
        "[[listen.service]]\nname = \"svc:a\"\nsocket = \"/a\"\n[[listen.service]]\nname = \"svc:a\"\nsocket = \"/b\"",
        "[[listen.proxy]]\nsocket = \"/run/p\"\nuid = \"nobody-of-this-name\"",
        "[[listen.proxy]]\nsocket = \"/run/p\"\nuid = 0",
        "[[listen.proxy]]\nsocket = \"/run/p\"\nuid = 65534",
        "[[listen.proxy]]\nsocket = \"/run/p\"\nuid = 33\n[[listen.proxy]]\nsocket = \"/run/p\"\nuid = 34",
        "[identity]\nmax_stale = \"1 week\"",
        "[identity]\nmax_stale = 5",
        "[identity]\nrouters = \"sometimes\"",
        "[identity]\ncapability = \"tsidp\"",
        "[claims]\nlocal_domains = [\"*\"]",
        "[claims]\nverified_domains = [\n  \"example.com\",\n  \"Example.org\",\n]",
        "[compat]\nintrospect = true",
        "[limits]\nrequests_in_flight = 0",
        "[limits]\nnode_burst = 0",
        "[keys]\nrotate_every = \"1d\"",
        "[keys]\nrotate_every = \"never\"",
        "[keys]\npublish_ahead = \"10m\"",
        "[session]\nlifetime = \"1m\"",
        "[keys]\nrotate_every = \"7d\"\npublish_ahead = \"7d\"",
        "[keys]\nalgorithms = [\"EdDSA\"]",
        "[keys]\nalgorithms = [\"RS256\", \"HS256\"]",
        "[dpop]\nnonce = \"optional\"",
        "[outbound]\nca_file = \"ca.pem\"",
        "[outbound]\nca_file = \"/nowhere/ca.pem\"",
        "[outbound]\nca_file = \"/etc/passwd\"",
        "[outbound]\ntest_ca = \"/etc/passwd\"",
        "[outbound]\ntest_host = \"rp.test:8443\"",
        "[outbound]\ntest_host = \"rp.test\"\ntest_ca = \"/etc/passwd\"",
        "[outbound]\ntest_host = \"rp.example.com:8443\"\ntest_ca = \"/etc/passwd\"",
        "[outbound]\ntest_host = \"127.0.0.1:8443\"\ntest_ca = \"/etc/passwd\"",
        "[outbound]\ntest_host = \"u@rp.test:8443\"\ntest_ca = \"/etc/passwd\"",
        "[outbound]\nproxy = \"http://127.0.0.1:3128\"",
        "[clients]\ntrusted = [\n  \"https://claude.ai/\",\n  \"https://claude.ai\",\n]",
        "[clients]\ntrusted = [\"http://app.test/c\"]",
        "[clients]\ntrusted = [\"https://\"]",
        "[clients]\ntrusted = [\"https://*.app.test/\"]",
        "[clients]\ntrusted = [\"https://App.test/\"]",
        "[clients]\ntrusted = [\"app.test\"]",
        "[clients]\nlocal_documents = [\"tail.test\"]",
        "[clients]\ncimd = \"yes\"",
        "[state]\ndir = \"state\"",
        "[log]\nformat = \"xml\"",
        "[log]\nlevel = \"loud\"",
        "[log]\nlevel = \"info\"\n[log]\n",
        "issuer = \"https://a.test",
    ]), @r#"
    t.toml:1: issuer: "https://IDP.tail.test/" must be https://HOST or https://HOST:PORT, without path, query, or trailing slash (http only on loopback)
    t.toml:1: isuer: there is no key "isuer" here; allowed: issuer, tailscale, listen, identity, claims, compat, limits, registration, keys, dpop, session, outbound, clients, state, log, rule, client, resource, exchange, workload
    t.toml:3: [listen] tailscale_ssh: "maybe" is not known; allowed: "refuse", "trusted"
    t.toml:2: [listen] tailscale_shh: there is no key "tailscale_shh" here; allowed: socket, admin_socket, ops_socket, tailscale_ssh, allow_unsafe_path, tailscaled_uid, admin_uid, service, proxy
    t.toml:2: [listen] socket: "serve.sock" must be an absolute path without ".."
    t.toml:2: [listen] socket: "/run/../tmp/a" must be an absolute path without ".."
    t.toml:3: [listen] socket: invalid type: integer `5`, expected a string
    t.toml:2: [listen] admin_socket: /run/tsidecar/serve.sock is the socket of another role too; each needs its own
    t.toml:2: [listen] tailscaled_uid: 65534 is what a user namespace shows for every account it does not know: it proves nothing
    t.toml:2: [listen] tailscaled_uid: invalid value: integer `-1`, expected u32
    t.toml:2: [[listen.service]] name: "login": a service name is `svc:` followed by a DNS label (letters, digits and inner hyphens, at most 63), such as `svc:login`; allowed: "svc:NAME"
    t.toml:1: [[listen.service]]: needs a key "socket"
    t.toml:5: [[listen.service]] name: "svc:a" has a socket already
    t.toml:3: [[listen.proxy]] uid: there is no such account in /etc/passwd; allowed: a uid, or the name of a local account
    t.toml:3: [[listen.proxy]] uid: 0 is root, and tailscaled is root too: the proxy needs an account of its own, such as "caddy"
    t.toml:3: [[listen.proxy]] uid: 65534 is nobody's uid: the proxy needs an account of its own, such as "caddy"
    t.toml:5: [[listen.proxy]] socket: /run/p is the socket of another role too; each needs its own
    t.toml:2: [identity] max_stale: "1 week" is no length of time; allowed: a whole number and a unit, as in "90s", "10m", "12h", "30d", or "off"
    t.toml:2: [identity] max_stale: invalid type: integer `5`, expected a string
    t.toml:2: [identity] routers: "sometimes" is not known; allowed: "deny", "allow"
    t.toml:2: [identity] capability: "tsidp" is no capability; allowed: DOMAIN/NAME, as in "example.com/cap/tsidecar"
    t.toml:2: [claims] local_domains: "*" is no domain; allowed: a domain in small letters, as in "example.com"
    t.toml:2: [claims] verified_domains: "Example.org" is no domain; allowed: a domain in small letters, as in "example.com", or "*"
    t.toml:2: [compat] introspect: there is no key "introspect" here; allowed: tsidp_claims, introspect_any_client
    t.toml:2: [limits] requests_in_flight: 0 is out of range; allowed: 1 to 65536
    t.toml:2: [limits] node_burst: 0 lets nobody in; allowed: 1 or more
    t.toml:2: [keys] rotate_every: "1d" is out of range; allowed: "7d" to "3650d", or "off"
    t.toml:2: [keys] rotate_every: "never" is no length of time; allowed: a whole number and a unit, as in "90s", "10m", "12h", "30d", or "off"
    t.toml:2: [keys] publish_ahead: "10m" is out of range; allowed: "1d" to "30d"
    t.toml:2: [session] lifetime: "1m" is out of range; allowed: "5m" to "400d"
    t.toml:3: [keys] publish_ahead: must be shorter than rotate_every, which is "7d"
    t.toml:2: [keys] algorithms: "RS256" must be in it; "EdDSA" may be, too
    t.toml:2: [keys] algorithms: "HS256" is not known; allowed: "RS256", "ES256", "EdDSA"
    t.toml:2: [dpop] nonce: "optional" is not known; allowed: "off", "required"
    t.toml:2: [outbound] ca_file: "ca.pem" must be an absolute path without ".."
    t.toml:2: [outbound] ca_file: /nowhere/ca.pem: cannot be read: No such file or directory (os error 2)
    t.toml:2: [outbound] ca_file: /etc/passwd has no certificate in it
    t.toml:2: [outbound] test_ca: needs test_host beside it
    t.toml:2: [outbound] test_host: needs test_ca beside it
    t.toml:2: [outbound] test_host: "rp.test" cannot be it; allowed: "NAME.test:PORT", "localhost:PORT"
    t.toml:2: [outbound] test_host: "rp.example.com:8443" cannot be it; allowed: "NAME.test:PORT", "localhost:PORT"
    t.toml:2: [outbound] test_host: "127.0.0.1:8443" cannot be it; allowed: "NAME.test:PORT", "localhost:PORT"
    t.toml:2: [outbound] test_host: "u@rp.test:8443" cannot be it; allowed: "NAME.test:PORT", "localhost:PORT"
    t.toml:2: [outbound] proxy: there is no key "proxy" here; allowed: ca_file, test_host, test_ca
    t.toml:4: [clients] trusted: "https://claude.ai" has no path: a document's URL looks like https://HOST/PATH; allowed: the whole URL of a document, or the beginning of some that ends in a slash, as in "https://app.example.com/"
    t.toml:2: [clients] trusted: "http://app.test/c" must be https://HOST[:PORT]/…, with a port other than 0; allowed: the whole URL of a document, or the beginning of some that ends in a slash, as in "https://app.example.com/"
    t.toml:2: [clients] trusted: "https://" has no path: a document's URL looks like https://HOST/PATH; allowed: the whole URL of a document, or the beginning of some that ends in a slash, as in "https://app.example.com/"
    t.toml:2: [clients] trusted: "https://*.app.test/" has a "*", which stands for nothing; allowed: the whole URL of a document, or the beginning of some that ends in a slash, as in "https://app.example.com/"
    t.toml:2: [clients] trusted: "https://App.test/" is not in its one usual spelling: small letters in scheme and host, no ":443", no empty or dot segments, no encoded slash, backslash, dot or NUL in the path, no empty query; allowed: the whole URL of a document, or the beginning of some that ends in a slash, as in "https://app.example.com/"
    t.toml:2: [clients] trusted: "app.test" is not an absolute URI of printable ASCII (at most 512 characters); allowed: the whole URL of a document, or the beginning of some that ends in a slash, as in "https://app.example.com/"
    t.toml:2: [clients] local_documents: "tail.test" is not an absolute URI of printable ASCII (at most 512 characters); allowed: the whole URL of a document, or the beginning of some that ends in a slash, as in "https://app.example.com/"
    t.toml:2: [clients] cimd: invalid type: string "yes", expected a boolean
    t.toml:2: [state] dir: "state" must be an absolute path without ".."
    t.toml:2: [log] format: "xml" is not known; allowed: "text", "json"
    t.toml:2: [log] level: "loud" is not known; allowed: "error", "warn", "info", "debug", "trace"
    t.toml:3: duplicate key
    t.toml:1: invalid basic string, expected `"`
    "#);
}

#[test]
fn errors_of_clients() {
    let texts = [
        "[[client]]\nname = \"A\"".to_owned(),
        "[[client]]\nid = \"a\"\nredirect_uris = [\"https://a.test/cb\"]".to_owned(),
        client("secret_sha256 = \"00\""),
        client("").replace("public = true", "secret_sha256 = \"00\""),
        client("").replace("public = true", "secret_file = \"grafana.secret\""),
        client("").replace("public = true", "secret_file = \"/nowhere/grafana.secret\""),
        client("").replace("public = true", "secret_file = \"credential:grafana\""),
        client("").replace("public = true", "secret_file = \"credential:../shadow\""),
        client("").replace("\"a\"", "\"userid:5\""),
        client("").replace("\"a\"", "\"tag:ci\""),
        client("name = \"\""),
        client("token_endpoint_auth_method = \"private_key_jwt\""),
        client("token_endpoint_auth_method = \"client_secret_basic\""),
        client("grant_types = [\"refresh_token\"]"),
        client("grant_types = [\"urn:ietf:params:oauth:grant-type:device_code\"]"),
        client("grant_types = [\"password\"]"),
        client("pkce = \"plain\""),
        client("pkce = \"optional\""),
        client("id_token_signed_response_alg = \"none\""),
        client("id_token_signed_response_alg = \"HS256\""),
        client("id_token_lifetime = \"5s\""),
        client("access_token_lifetime = \"10\""),
        client("refresh_idle_lifetime = \"4000d\""),
        client("login = \"never\""),
        client("allow = { user = [\"alice@example.com\"] }"),
        client("").replace("https://a.test/cb", "javascript:alert(1)"),
        client("").replace("https://a.test/cb", "https://a.test/cb#x"),
        client("").replace("[\"https://a.test/cb\"]", "[]"),
        client("").replace("[\"https://a.test/cb\"]", "\"https://a.test/cb\""),
        client("") + &client("name = \"twin\""),
    ];
    insta::assert_snapshot!(errors(&texts.each_ref().map(String::as_str)), @r#"
    t.toml:1: [[client]]: needs a key "id"
    t.toml:2: [[client]] id: a client needs exactly one of secret_file, secret_sha256, public = true and keys of its own (jwks_file, jwks_uri)
    t.toml:3: [[client]] public: a client needs exactly one of secret_file, secret_sha256, public = true and keys of its own (jwks_file, jwks_uri)
    t.toml:3: [[client]] secret_sha256: must be the SHA-256 of the secret in 64 hexadecimal digits, as `printf %s SECRET | sha256sum` prints it
    t.toml:3: [[client]] secret_file: "grafana.secret" must be an absolute path, or "credential:NAME"
    t.toml:3: [[client]] secret_file: /nowhere/grafana.secret: cannot be read: No such file or directory (os error 2)
    t.toml:3: [[client]] secret_file: there are no systemd credentials here ($CREDENTIALS_DIRECTORY is not set); add LoadCredential=grafana:FILE to the unit
    t.toml:3: [[client]] secret_file: "credential:../shadow" is no credential; allowed: "credential:NAME"
    t.toml:2: [[client]] id: starts with "userid:" or "tag:", which are kept for people and workloads
    t.toml:2: [[client]] id: starts with "tag:", which is kept for tagged nodes
    t.toml:5: [[client]] name: must have 1 to 100 characters, none of them a control character
    t.toml:5: [[client]] token_endpoint_auth_method: does not fit: a public client has "none", one with a secret "client_secret_basic" or "client_secret_post", one with keys "private_key_jwt"
    t.toml:5: [[client]] token_endpoint_auth_method: does not fit: a public client has "none", one with a secret "client_secret_basic" or "client_secret_post", one with keys "private_key_jwt"
    t.toml:5: [[client]] grant_types: must contain one of "authorization_code", "urn:ietf:params:oauth:grant-type:device_code", "client_credentials" and "urn:ietf:params:oauth:grant-type:token-exchange"
    t.toml:4: [[client]] redirect_uris: are of no use without "authorization_code" in grant_types
    t.toml:5: [[client]] grant_types: "password" is not known; allowed: "authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code", "client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"
    t.toml:5: [[client]] pkce: "plain" is not known; allowed: "required", "or-nonce", "optional"
    t.toml:5: [[client]] pkce: a public client always needs PKCE: leave out pkce, or write pkce = "required"
    t.toml:5: [[client]] id_token_signed_response_alg: "none" is not known; allowed: "RS256", "ES256", "EdDSA"
    t.toml:5: [[client]] id_token_signed_response_alg: "HS256" is not known; allowed: "RS256", "ES256", "EdDSA"
    t.toml:5: [[client]] id_token_lifetime: is out of range; allowed: "1m" to "1d"
    t.toml:5: [[client]] access_token_lifetime: "10" is no length of time; allowed: a whole number and a unit, as in "90s", "10m", "12h", "30d"
    t.toml:5: [[client]] refresh_idle_lifetime: is out of range; allowed: "5m" to "3650d"
    t.toml:5: [[client]] login: "never" is not known; allowed: "ambient", "session", "confirm"
    t.toml:5: [[client]] allow.user: there is no key "user" here; allowed: users, groups, tags, capability
    t.toml:4: [[client]] redirect_uris: "javascript:alert(1)" has a scheme that is never a redirect target (javascript:, data:, file: and the like)
    t.toml:4: [[client]] redirect_uris: "https://a.test/cb#x" has a fragment (#…)
    t.toml:4: [[client]] redirect_uris: needs 1 to 32 redirect_uris
    t.toml:4: [[client]] redirect_uris: invalid type: string "https://a.test/cb", expected a sequence
    t.toml:7: [[client]] id: "a" is a client of t.toml already
    "#);
}

#[test]
fn errors_of_registration() {
    insta::assert_snapshot!(errors(&[
        "[registration]\nexpires = \"30d\"",
        "[registration]\nexpires_unused = \"91d\"",
        "[registration]\nexpires_unused = \"5m\"",
        "[registration]\nnode_per_hour = 0",
        "[registration]\nfunnel_per_hour = 0",
        "[[rule]]\nallow_dcr = true\nclients = [\"a\"]",
    ]), @r#"
    t.toml:2: [registration] expires: "30d" is out of range; allowed: "32d" (refresh tokens live 30 days unused) to "3650d"
    t.toml:2: [registration] expires_unused: "91d" is out of range; allowed: "1h" to expires, which is "90d"
    t.toml:2: [registration] expires_unused: "5m" is out of range; allowed: "1h" to expires, which is "90d"
    t.toml:2: [registration] node_per_hour: 0 lets nobody register; allowed: 1 or more
    t.toml:2: [registration] funnel_per_hour: 0 lets nobody register; allowed: 1 or more
    t.toml:2: [[rule]] allow_dcr: true: needs a rule without clients: a client that is to be registered has no id yet
    "#);
}

#[test]
fn errors_of_rules_and_resources() {
    insta::assert_snapshot!(errors(&[
        "[[rule]]\nclaims = { sub = \"root\" }",
        "[[rule]]\nclaims = { email_verified = \"yes\" }",
        "[[rule]]\nclaims = { since = 2026-01-01 }",
        "[[rule]]\nextraClaims = { team = \"eng\" }",
        "[[rule]]\ntags = [\"ci\"]",
        "[[rule]]\ntags = [\"tag:x\"]\n[rule.tagged_identity]\nsubject = \"userid:1\"",
        "[[rule]]\ntagged_identity = { subject = \"kiosk\" }",
        "[[rule]]\nresources = [\"mcp\"]",
        "[[rule]]\nresources = [\"https://*.tail.test\"]",
        "[[rule]]\nresources = [\"*\"]\nscopes = [\"openid\"]",
        "[[resource]]\nuri = \"https://a.test\"",
        "[[resource]]\nuri = \"mcp\"\nclients = [\"*\"]",
        "[[resource]]\nuri = \"https://a.test\"\nclients = [\"tag:x\"]",
        "[[resource]]\nuri = \"https://a.test\"\nclients = [\"*\"]\nservers = [\"*\", \"tag:\"]",
        "[[resource]]\nuri = \"https://a.test\"\nclients = []\nservers = [\"tag:\"]",
        "[[resource]]\nuri = \"https://a.test\"\nclients = []\nscopes = [\"a b\"]",
        "[[resource]]\nuri = \"https://a.test\"\nclients = []\nscopes = [\"openid\"]",
        "[[resource]]\nuri = \"https://a.test\"\nclients = []\nscopes = [\"a\"]\ndefault_scopes = [\"b\"]",
        "[[resource]]\nuri = \"https://a.test\"\nclients = []\nsigning_alg = \"HS256\"",
        "[[resource]]\nuri = \"https://a.test\"\nclients = []\naccess_token_lifetime = \"2d\"",
        "[[resource]]\nuri = \"https://a.test\"\nclients = []\n[[resource]]\nuri = \"https://a.test/\"\nclients = []",
        "[[resource]]\nuri = \"https://*/\"\nclients = []",
        "[[resource]]\nuri = \"https://*.ts.net/mcp\"\nclients = []",
        "[[resource]]\nuri = \"https://a*.tail.test/mcp\"\nclients = []",
        "[[resource]]\nuri = \"https://mcp.test/*/mcp\"\nclients = []",
        "[[resource]]\nuri = \"https://a.test/mcp\"\naliases = [\"https://*.a.test\"]\nclients = []",
        "[[resource]]\nuri = \"https://a.test\"\naliases = [\"https://A.test/\"]\nclients = []",
        "[[resource]]\nuri = \"https://a.test\"\nclients = []\n[[resource]]\nuri = \"https://a.test/mcp\"\naliases = [\"https://a.test\"]\nclients = []",
        "[[resource]]\nuri = \"https://*.a.test/mcp\"\nclients = []\n[[resource]]\nuri = \"https://*.a.test/*\"\nclients = []",
        "[[resource]]\nuri = \"https://a.test\"\nname = \"\"\nclients = []",
    ]), @r#"
    t.toml:2: [[rule]] claims: claim "sub" cannot be set by a rule
    t.toml:2: [[rule]] claims: claim "email_verified" must be a boolean
    t.toml:2: [[rule]] claims: a date must be written as a string: JSON has no dates
    t.toml:2: [[rule]] extraClaims: there is no key "extraClaims" here; allowed: users, groups, tags, clients, add_groups, resources, scopes, claims, claims_in_userinfo, allow_external, allow_dcr, tagged_identity
    t.toml:2: [[rule]] tags: "ci" is no tag; allowed: "tag:NAME"
    t.toml:3: [[rule]] tagged_identity: taggedIdentity.subject starts with "userid:" or "tag:", which are kept for people and workloads
    t.toml:2: [[rule]] tagged_identity: needs tags, as in ["tag:kiosk"], and no clients: `allow` of each client says who may sign in to it
    t.toml:2: [[rule]] resources: resource "mcp" is not an absolute URI of printable ASCII (at most 512 characters)
    t.toml:2: [[rule]] resources: resource "https://*.tail.test" is neither one URI nor "*"; a pattern can stand in [[resource]] of the configuration file only
    t.toml:3: [[rule]] scopes: scope "openid" is none of a resource: printable ASCII without space, quote and backslash, and none of OpenID Connect's
    t.toml:1: [[resource]]: needs a key "clients"
    t.toml:2: [[resource]] uri: "mcp" is not an absolute URI of printable ASCII (at most 512 characters)
    t.toml:3: [[resource]] clients: there is no [[workload]] with tag = "tag:x", which says what nodes that is
    t.toml:4: [[resource]] servers: "tag:" does not fit; allowed: client ids, or "tag:NAME"
    t.toml:4: [[resource]] servers: "tag:" does not fit; allowed: client ids, or "tag:NAME"
    t.toml:4: [[resource]] scopes: "a b" is no scope; allowed: printable ASCII without space, quote and backslash
    t.toml:4: [[resource]] scopes: "openid" belongs to OpenID Connect, not to a resource
    t.toml:5: [[resource]] default_scopes: "b" is not in scopes
    t.toml:4: [[resource]] signing_alg: "HS256" is not known; allowed: "RS256", "ES256", "EdDSA"
    t.toml:4: [[resource]] access_token_lifetime: is out of range; allowed: "1m" to "1d"
    t.toml:5: [[resource]] uri: "https://a.test/" means the same resource as "https://a.test"
    t.toml:2: [[resource]] uri: "https://*/" would also match hosts of strangers: after "*." must stand the name of your tailnet or a domain of your own, of two labels or more
    t.toml:2: [[resource]] uri: "https://*.ts.net/mcp" would also match hosts of strangers: after "*." must stand the name of your tailnet or a domain of your own, of two labels or more
    t.toml:2: [[resource]] uri: "https://a*.tail.test/mcp" may have a * in its host only as the whole first label, as in https://*.tail1234.ts.net/mcp
    t.toml:2: [[resource]] uri: "https://mcp.test/*/mcp" may have a * in its path only as the whole last segment, as in https://mcp.example.com/*
    t.toml:3: [[resource]] aliases: "https://*.a.test" must have a * where uri has one, and nowhere else: what it stands for in the alias is put in there
    t.toml:3: [[resource]] aliases: "https://A.test/" says the same as uri or another alias
    t.toml:6: [[resource]] aliases: "https://a.test" means the same resource as "https://a.test"
    t.toml:5: [[resource]] uri: "https://*.a.test/*" means the same resource as "https://*.a.test/mcp"
    t.toml:3: [[resource]] name: must be a text without control characters
    "#);
}

#[test]
fn errors_of_workloads() {
    let tail = "\n[[workload]]\ntag = \"tag:ci\"";
    insta::assert_snapshot!(errors(&[
        "[[workload]]\nnodes = []",
        "[[workload]]\ntag = \"ci\"",
        "[[workload]]\ntag = \"tag:\"",
        "[[workload]]\ntag = \"tag:ci\"\nnodes = [\"\"]",
        "[[workload]]\ntag = \"tag:ci\"\nscopes = [\"openid\"]",
        "[[workload]]\ntag = \"tag:ci\"\naccess_token_lifetime = \"1s\"",
        "[[workload]]\ntag = \"tag:ci\"\nsecret_file = \"/x\"",
        &format!("[[workload]]\ntag = \"tag:ci\"{tail}"),
        "[[exchange]]\ncallers = [\"tag:x\"]\nto = [\"https://a.test\"]",
        &client("grant_types = [\"client_credentials\"]").replace("redirect_uris = [\"https://a.test/cb\"]\n", ""),
    ]), @r#"
    t.toml:1: [[workload]]: needs a key "tag"
    t.toml:2: [[workload]] tag: "ci" is no tag; allowed: "tag:NAME"
    t.toml:2: [[workload]] tag: "tag:" is no tag; allowed: "tag:NAME"
    t.toml:3: [[workload]] nodes: "" is empty; allowed: stable ids, as `tsidecar whois ADDRESS` tells them
    t.toml:3: [[workload]] scopes: "openid" belongs to OpenID Connect, not to a resource
    t.toml:3: [[workload]] access_token_lifetime: is out of range; allowed: "1m" to "1d"
    t.toml:3: [[workload]] secret_file: there is no key "secret_file" here; allowed: tag, nodes, routes, scopes, access_token_lifetime
    t.toml:4: [[workload]] tag: "tag:ci" is a workload already
    t.toml:2: [[exchange]] callers: there is no [[workload]] with tag = "tag:x", which says what nodes that is
    t.toml:4: [[client]] grant_types: a public client has no credentials of its own: leave "client_credentials" out of grant_types, or give it a secret or keys (jwks, jwks_uri)
    "#);
    insta::assert_snapshot!(
        read(tail).unwrap().warnings.join("\n"),
        @r#"t.toml:3: [[workload]] tag: "tag:ci": no [[resource]] names it in clients or servers and no [[exchange]] in callers, so it gets no token"#
    );
}

#[test]
fn warnings_name_their_place() {
    let text = "[listen]\ntailscale_ssh = \"trusted\"\n".to_owned()
        + &client("allow = {}").replace("https://a.test/cb", "http://nas.lan/cb");
    insta::assert_snapshot!(read(&text).unwrap().warnings.join("\n"), @r#"
    t.toml:2: [listen] tailscale_ssh: "trusted": whoever may use Tailscale SSH to this host may sign in as anyone
    t.toml:6: [[client]] redirect_uris: "http://nas.lan/cb": codes travel in clear text over the network; https is better
    t.toml:7: [[client]] allow: names nobody, so nobody may sign in
    "#);
}

#[test]
fn everything_that_can_be_said_is_kept() {
    let text = r#"
        issuer = "https://idp.tail.test:8443"
        [tailscale]
        socket = "/run/ts.sock"
        [identity]
        max_stale = "2h"
        routers = "allow"
        [claims]
        local_domains = ["example.com"]
        [compat]
        tsidp_claims = true
        [[listen.proxy]]
        socket = "/run/p"
        uid = 998
        [[listen.service]]
        name = "svc:login"
        socket = "/run/s"
        [limits]
        node_requests_per_minute = 0
        [dpop]
        nonce = "required"
        [clients]
        trusted = ["https://apps.test/", "https://one.test/client.json"]
        fetch_documents = false
        local_documents = ["https://docs.tail.test/clients/"]
        [[client]]
        id = "a"
        name = "A"
        secret_sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        redirect_uris = ["https://a.test/cb"]
        token_endpoint_auth_method = "client_secret_basic"
        grant_types = ["authorization_code"]
        pkce = "or-nonce"
        allow = { users = ["alice@example.com"], groups = ["group:eng"], tags = ["tag:x"], capability = true }
        id_token_signed_response_alg = "ES256"
        claims_in_id_token = false
        id_token_lifetime = "2m"
        access_token_lifetime = "1h"
        refresh_idle_lifetime = "7d"
        refresh_absolute_lifetime = "90d"
        disabled = true
        login = "confirm"
        [[rule]]
        users = ["alice@example.com"]
        clients = ["a"]
        add_groups = ["admins"]
        claims = { team = "eng", levels = [1, "2"] }
        claims_in_userinfo = false
        allow_external = true
        resources = ["https://tool.test"]
        scopes = ["use"]
        [[resource]]
        uri = "https://mcp.test/mcp"
        name = "Files"
        aliases = ["https://mcp.test"]
        scopes = ["read", "write"]
        default_scopes = ["read"]
        clients = ["a"]
        servers = ["mcp", "tag:mcp"]
        may_act = "mcp"
        signing_alg = "ES256"
        access_token_lifetime = "1h"
        [[exchange]]
        callers = ["mcp", "tag:mcp"]
        from = ["https://mcp.test/mcp", "a"]
        to = ["https://mcp.test/mcp"]
        users = ["alice@example.com"]
        groups = ["group:eng"]
        scopes = ["read"]
        [[workload]]
        tag = "tag:mcp"
        nodes = ["nMCP"]
        routes = true
        scopes = ["read"]
        access_token_lifetime = "2m"
    "#;
    insta::assert_debug_snapshot!(read(text).unwrap(), @r#"
    Config {
        file: "t.toml",
        issuer: Some(
            Issuer(
                "https://idp.tail.test:8443",
            ),
        ),
        tailscale: TailscaleConfig {
            socket: "/run/ts.sock",
        },
        listen: ListenConfig {
            socket: "/run/tsidecar/serve.sock",
            admin_socket: "/run/tsidecar/admin.sock",
            ops_socket: "/run/tsidecar/ops.sock",
            tailscale_ssh: Refuse,
            allow_unsafe_path: false,
            tailscaled_uid: 0,
            admin_uid: 0,
            services: [
                ServiceListener {
                    name: ServiceName(
                        "svc:login",
                    ),
                    socket: "/run/s",
                },
            ],
            proxies: [
                ProxyListener {
                    socket: "/run/p",
                    uid: 998,
                },
            ],
        },
        identity: IdentityConfig {
            routers: Allow,
            max_stale: Some(
                Lifetime(
                    7200,
                ),
            ),
            capability: "tailscale.com/cap/tsidp",
        },
        claims: ClaimsConfig {
            local_domains: Some(
                [
                    "example.com",
                ],
            ),
            verified_domains: [
                "*",
            ],
            email_suffix: None,
            tsidp_claims: true,
            introspect_any_client: false,
        },
        limits: Limits {
            requests_in_flight: 512,
            connections: 1024,
            node_requests_per_minute: None,
            node_burst: 200,
        },
        registration: RegistrationConfig {
            from: Tailnet,
            pkce: Required,
            login: Ambient,
            id_token_claims: true,
            expires: Lifetime(
                7776000,
            ),
            expires_unused: Lifetime(
                604800,
            ),
            limits: RegistrationLimits {
                node: 120,
                funnel: 20,
            },
        },
        keys: KeysConfig {
            rotate_every: Some(
                Lifetime(
                    7776000,
                ),
            ),
            publish_ahead: Lifetime(
                86400,
            ),
            algorithms: [
                Rs256,
                Es256,
            ],
        },
        dpop: DpopConfig {
            nonce: Required,
        },
        session_lifetime: Lifetime(
            2592000,
        ),
        outbound: OutboundConfig {
            authorities: None,
            test: None,
        },
        state_dir: "/var/lib/tsidecar",
        log: LogConfig {
            format: Text,
            level: Info,
        },
        rules: [
            FileRule {
                users: [
                    "alice@example.com",
                ],
                groups: [],
                tags: [],
                rule: Rule {
                    allow_admin_ui: false,
                    allow_dcr: false,
                    users: [
                        "*",
                    ],
                    resources: [
                        "https://tool.test",
                    ],
                    scopes: [
                        "use",
                    ],
                    extra_claims: {},
                    claims: {
                        "levels": Array [
                            Number(1),
                            String("2"),
                        ],
                        "team": String("eng"),
                    },
                    include_in_user_info: false,
                    groups: [
                        "admins",
                    ],
                    clients: [
                        "a",
                    ],
                    tagged_identity: None,
                    allow_external: true,
                },
            },
        ],
        clients: [
            (
                ClientSpec {
                    id: "a",
                    name: "A",
                    public: false,
                    secrets: [
                        SecretDigest(ungW..),
                    ],
                    keys: None,
                    signed: SignedRequests {
                        assertion_algs: [
                            Rs256,
                            Ps256,
                            Es256,
                            EdDsa,
                        ],
                        token_endpoint_audience: false,
                        request_object_alg: None,
                        require_request_object: false,
                    },
                    redirect_uris: [
                        "https://a.test/cb",
                    ],
                    strict_auth_method: Some(
                        ClientSecretBasic,
                    ),
                    grant_types: [
                        AuthorizationCode,
                    ],
                    pkce: OrNonce,
                    allow: Some(
                        Access {
                            users: [
                                "alice@example.com",
                            ],
                            groups: [
                                "group:eng",
                            ],
                            tags: [
                                "tag:x",
                            ],
                            capability: true,
                        },
                    ),
                    id_token_alg: Es256,
                    id_token_claims: false,
                    userinfo_alg: None,
                    login: Confirm,
                    require_par: false,
                    require_dpop: false,
                    logout: LogoutSpec {
                        post_logout_redirect_uris: [],
                        backchannel_uri: None,
                        backchannel_session_required: false,
                    },
                    lives: Lives {
                        id_token: Lifetime(
                            120,
                        ),
                        access_token: Lifetime(
                            3600,
                        ),
                        refresh_idle: Lifetime(
                            604800,
                        ),
                        refresh_absolute: Lifetime(
                            7776000,
                        ),
                    },
                    disabled: true,
                },
                "t.toml",
            ),
        ],
        exchanges: [
            ExchangeRule {
                callers: [
                    "mcp",
                    "tag:mcp",
                ],
                from: [
                    "https://mcp.test/mcp",
                    "a",
                ],
                to: [
                    "https://mcp.test/mcp",
                ],
                users: [
                    "alice@example.com",
                ],
                groups: [
                    "group:eng",
                ],
                scopes: Some(
                    [
                        "read",
                    ],
                ),
            },
        ],
        resources: [
            Entry {
                name: Exact(
                    ResourceIndicator(
                        "https://mcp.test/mcp",
                    ),
                ),
                aliases: [
                    Exact(
                        ResourceIndicator(
                            "https://mcp.test",
                        ),
                    ),
                ],
                spec: ResourceSpec {
                    name: Some(
                        "Files",
                    ),
                    scopes: [
                        ScopeToken(
                            "read",
                        ),
                        ScopeToken(
                            "write",
                        ),
                    ],
                    default_scopes: [
                        ScopeToken(
                            "read",
                        ),
                    ],
                    clients: [
                        "a",
                    ],
                    servers: [
                        "mcp",
                        "tag:mcp",
                    ],
                    may_act: Some(
                        "mcp",
                    ),
                    alg: Es256,
                    access_token: Some(
                        Lifetime(
                            3600,
                        ),
                    ),
                },
            },
        ],
        workloads: [
            WorkloadRule {
                tag: "tag:mcp",
                nodes: [
                    DeviceId(
                        "nMCP",
                    ),
                ],
                routes: true,
                scopes: Some(
                    [
                        ScopeToken(
                            "read",
                        ),
                    ],
                ),
                access_token: Lifetime(
                    120,
                ),
            },
        ],
        trusted: Trusted(
            [
                "https://apps.test/",
                "https://one.test/client.json",
            ],
        ),
        documents: DocumentsConfig {
            cimd: true,
            fetch: false,
            local: Trusted(
                [
                    "https://docs.tail.test/clients/",
                ],
            ),
            pinned: {},
        },
        warnings: [],
    }
    "#);
}

#[test]
fn the_shipped_file_is_the_default() {
    let defaults: String =
        SHIPPED.lines().filter_map(as_default).fold(String::new(), |all, line| all + line + "\n");
    let mut expected = Config { file: "t.toml".into(), ..Config::default() };
    expected.tailscale.socket = "/run/tailscale/tailscaled.sock".into();
    assert_eq!(format!("{:#?}", read(&defaults).unwrap()), format!("{expected:#?}"));
    assert_eq!(format!("{:#?}", read(SHIPPED).unwrap().listen), format!("{:#?}", expected.listen));
}

/// `#key = value` and `[table]` are defaults; `# prose` and `#   example` are not.
fn as_default(line: &str) -> Option<&str> {
    let text = line.strip_prefix('#').unwrap_or(line);
    let is_table = text.starts_with('[') && !text.starts_with("[[");
    let is_key = text.starts_with(|first: char| first.is_ascii_lowercase()) && text.contains(" = ");
    (is_table || is_key).then_some(text)
}

/// Every example in the shipped file, uncommented, is valid too, and every key of the code stands in it.
#[test]
fn the_shipped_file_names_every_key_and_its_examples_are_valid() {
    let uncommented: String = SHIPPED
        .lines()
        .filter_map(|line| {
            line.strip_prefix("#   ")
                .filter(|example| !example.starts_with(' '))
                .or_else(|| as_default(line).filter(|text| text.starts_with('[')))
        })
        .fold(String::new(), |all, line| all + line + "\n");
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("s");
    std::fs::write(&secret, "x".repeat(32)).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, crate::outbound::ca_for_tests()).unwrap();
    let uncommented = uncommented
        .replace("/etc/tsidecar/grafana.secret", secret.to_str().unwrap())
        .replace("/etc/tsidecar/our-ca.pem", ca.to_str().unwrap())
        .replace("/etc/tsidecar/test-ca.pem", ca.to_str().unwrap())
        .replace("uid = \"caddy\"", "uid = 998");
    let config = read(&uncommented).unwrap();
    assert!(
        config.warnings.iter().any(|warning| warning.contains("this is for tests only")),
        "{:?}",
        config.warnings
    );
    for key in include_str!("raw.rs").lines().filter_map(key_of_line) {
        let stands = SHIPPED.lines().any(|line| {
            let text = line.trim_start_matches(['#', ' ']);
            text.starts_with(&format!("{key} = "))
                || text.contains(&format!("[{key}]"))
                || text.contains(&format!(".{key}]]"))
                || text.contains(&format!(" {key} = "))
        });
        assert!(stands, "{key} is missing in config/tsidecar.toml");
    }
}

fn key_of_line(line: &str) -> Option<&str> {
    let (name, kind) = line.trim().strip_prefix("pub ")?.split_once(": ")?;
    (!kind.is_empty()).then_some(name)
}

#[test]
fn documents_of_the_folder_are_judged_as_fetched_ones_are() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("tsidecar.toml");
    std::fs::write(&main, "").unwrap();
    let documents_d = folder.path().join("documents.d");
    std::fs::create_dir(&documents_d).unwrap();
    let document = |id: &str, more: &str| {
        format!(r#"{{"client_id":"{id}","client_name":"A","redirect_uris":["http://127.0.0.1/cb"]{more}}}"#)
    };
    let load = |name: &str, text: &str| {
        let file = documents_d.join(name);
        std::fs::write(&file, text).unwrap();
        let loaded = Config::load(&main);
        std::fs::remove_file(&file).unwrap();
        loaded.map_err(|error| error.to_string().replace(&folder.path().display().to_string(), "/etc"))
    };
    std::fs::write(documents_d.join("a.json"), document("https://a.test/c", "")).unwrap();
    let config = load("b.json", &document("https://b.test/c", "")).unwrap();
    let pinned: Vec<_> = config.documents.pinned.keys().map(ClientId::as_str).collect();
    assert_eq!(pinned, ["https://a.test/c", "https://b.test/c"]);
    let mut errors = String::new();
    for text in [
        document("https://a.test/c", ""),
        document("http://b.test/c", ""),
        document("https://b.test", ""),
        document("https://b.test/c", r#","client_secret":"x""#),
        document("https://b.test/c", r#","token_endpoint_auth_method":"client_secret_post""#),
        "{}".to_owned(),
        "no JSON".to_owned(),
    ] {
        writeln!(errors, "{}", load("x.json", &text).unwrap_err()).unwrap();
    }
    insta::assert_snapshot!(errors, @r#"
    /etc/documents.d/x.json: "https://a.test/c" has a document in /etc/documents.d/a.json already
    /etc/documents.d/x.json: client_id "http://b.test/c" must be https://HOST[:PORT]/…, with a port other than 0
    /etc/documents.d/x.json: client_id "https://b.test" has no path: a document's URL looks like https://HOST/PATH
    /etc/documents.d/x.json: the document has a client_secret, which everybody can read
    /etc/documents.d/x.json: token_endpoint_auth_method "client_secret_post" is not supported; supported: none, private_key_jwt
    /etc/documents.d/x.json: there is no client_id, which must be the URL of the document
    /etc/documents.d/x.json: there is no client_id, which must be the URL of the document
    "#);
}

#[test]
fn clients_of_the_folder_come_in_order_and_only_once() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("tsidecar.toml");
    std::fs::write(&main, client("")).unwrap();
    assert_eq!(Config::load(&main).unwrap().clients.len(), 1);
    let clients_d = folder.path().join("clients.d");
    std::fs::create_dir(&clients_d).unwrap();
    for (name, text) in [
        ("20-b.toml", client("").replace("\"a\"", "\"b\"")),
        ("10-c.toml", client("").replace("\"a\"", "\"c\"")),
        ("30-d.toml.bak", "not read".to_owned()),
        (".hidden.toml", "not read".to_owned()),
    ] {
        std::fs::write(clients_d.join(name), text).unwrap();
    }
    let config = Config::load(&main).unwrap();
    let ids: Vec<_> = config.clients.iter().map(|(spec, _)| spec.id.as_str()).collect();
    assert_eq!(ids, ["a", "c", "b"]);
    assert!(config.clients[1].1.ends_with("clients.d/10-c.toml"));

    std::fs::write(clients_d.join("40-again.toml"), client("")).unwrap();
    let error = Config::load(&main).unwrap_err().to_string();
    let shown = folder.path().display().to_string();
    insta::assert_snapshot!(error.replace(&shown, "/etc"), @r#"/etc/clients.d/40-again.toml:2: [[client]] id: "a" is a client of /etc/tsidecar.toml already"#);
    std::fs::write(clients_d.join("40-again.toml"), "issuer = \"https://a.test\"").unwrap();
    let error = Config::load(&main).unwrap_err().to_string();
    insta::assert_snapshot!(error.replace(&shown, "/etc"), @r#"/etc/clients.d/40-again.toml:1: issuer: there is no key "issuer" here; allowed: client"#);
    assert!(Config::options(&main).is_ok());
}

#[test]
fn secrets_come_from_files_that_nobody_else_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grafana.secret");
    let shown = folder.path().display().to_string();
    let text = client("").replace("public = true", &format!("secret_file = {:?}", path.to_str().unwrap()));
    let write = |secret: &str, mode: u32| {
        std::fs::write(&path, secret).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        read(&text).map(|config| config.clients[0].0.secrets.clone())
    };
    let secret = tsidecar_oauth::secret::ClientSecret::new("s".repeat(32));
    assert!(write(&format!("{}\n", "s".repeat(32)), 0o640).unwrap()[0].matches(&secret));
    let mut all = String::new();
    for (secret, mode) in [("short", 0o600), ("ssssssssssssssssssssssssssssssss", 0o644)] {
        writeln!(all, "{}", write(secret, mode).unwrap_err().to_string().replace(&shown, "/etc")).unwrap();
    }
    insta::assert_snapshot!(all, @"
    t.toml:3: [[client]] secret_file: /etc/grafana.secret: the secret has 5 characters, at least 32 are needed; `openssl rand -hex 32` makes one
    t.toml:3: [[client]] secret_file: /etc/grafana.secret: everybody on this host may open it (mode 0644); run: chmod 0640 /etc/grafana.secret
    ");
}

#[test]
fn credentials_come_from_systemd() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grafana");
    std::fs::write(&path, "c".repeat(32)).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    let text = client("").replace("public = true", "secret_file = \"credential:grafana\"");
    let source = Source::from_text("t.toml", &text);
    let given = clients::Credentials { folder: Some(folder.path().into()), required: true };
    let config = Config::from_source(&source, &given).unwrap();
    let secret = tsidecar_oauth::secret::ClientSecret::new("c".repeat(32));
    assert!(config.clients[0].0.secrets[0].matches(&secret));
    let check = clients::Credentials { folder: None, required: false };
    insta::assert_snapshot!(Config::from_source(&source, &check).unwrap().warnings.join("\n"), @r#"t.toml:3: [[client]] secret_file: "credential:grafana" was not checked: only the unit has its credentials"#);
}
