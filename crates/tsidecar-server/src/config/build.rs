//! From raw sections to validated ones: each function overlays what the file says on the defaults.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use tsidecar_oauth::jose::Algorithm;
use tsidecar_oauth::session::SIGNED_OUT_LIFETIME;
use tsidecar_oauth::time::Lifetime;
use tsidecar_oauth::uri::Issuer;

use super::policy::rule_of;
use super::resource::resources;
use super::source::{ConfigError, Source, Step, Step::Index, Step::Key};
use super::value::{Account, Length, LengthOrOff};
use super::{Config, KeysConfig, ListenConfig, ProxyListener, ServiceListener, TailscaleSsh, raw, spell};

/// The uid that a user namespace shows for accounts it does not know: it names nobody.
const NOBODY: u32 = 65_534;

/// The longest path that fits into a socket address (`sun_path` with its end).
const LONGEST_SOCKET: usize = 107;

/// Overlays every section but clients on the defaults.
pub(super) fn options(source: &Source, file: &mut raw::File) -> Result<Config, ConfigError> {
    let mut config = Config { file: source.path().to_owned(), ..Config::default() };
    if let Some(text) = &file.issuer {
        let issuer = Issuer::parse(text);
        config.issuer =
            Some(issuer.map_err(|error| source.error_in(&[Key("issuer")], format!("{text:?} {error}")))?);
    }
    config.tailscale.socket = tailscaled_socket(source, file.tailscale.socket.as_deref(), &config)?;
    listen(source, &file.listen, &mut config.listen)?;
    if config.listen.tailscale_ssh == TailscaleSsh::Trusted {
        config.warnings.push(source.warning_in(
            &[Key("listen"), Key("tailscale_ssh")],
            "\"trusted\": whoever may use Tailscale SSH to this host may sign in as anyone",
        ));
    }
    if config.listen.allow_unsafe_path {
        let message = "true: sockets may lie where users of Tailscale SSH reach them; this is for tests only";
        config.warnings.push(source.warning_in(&[Key("listen"), Key("allow_unsafe_path")], message));
    }
    identity(source, &file.identity, &mut config)?;
    claims(source, &file.claims, &mut config)?;
    compat(source, &file.compat, &mut config);
    limits(source, &file.limits, &mut config)?;
    super::registration::overlay(source, &file.registration, &mut config.registration)?;
    keys(source, &file.keys, &mut config.keys)?;
    overlay(&mut config.dpop.nonce, file.dpop.nonce);
    if let Some(Length(lifetime)) = file.session.lifetime {
        config.session_lifetime = session_lifetime(source, lifetime)?;
    }
    super::outbound::overlay(source, &file.outbound, &mut config)?;
    super::documents::overlay(source, &file.clients, &mut config)?;
    if let Some(dir) = &file.state.dir {
        config.state_dir = absolute(source, &[Key("state"), Key("dir")], dir)?;
    }
    overlay(&mut config.log.format, file.log.format);
    overlay(&mut config.log.level, file.log.level);
    for (index, rule) in file.rule.drain(..).enumerate() {
        config.rules.push(rule_of(source, index, rule)?);
    }
    config.exchanges = super::exchange::rules(source, &file.exchange)?;
    config.resources = resources(source, &file.resource)?;
    super::workloads::overlay(source, &file.workload, &mut config)?;
    Ok(config)
}

fn overlay<T>(value: &mut T, from_file: Option<T>) {
    if let Some(from_file) = from_file {
        *value = from_file;
    }
}

fn compat(source: &Source, file: &raw::Compat, config: &mut Config) {
    overlay(&mut config.claims.tsidp_claims, file.tsidp_claims);
    overlay(&mut config.claims.introspect_any_client, file.introspect_any_client);
    if config.claims.introspect_any_client {
        config.warnings.push(source.warning_in(
            &[Key("compat"), Key("introspect_any_client")],
            "true: every client with a secret may ask what any access token is good for",
        ));
    }
}

pub(super) fn absolute(source: &Source, steps: &[Step<'_>], text: &str) -> Result<PathBuf, ConfigError> {
    let path = Path::new(text);
    let plain = path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    if path.is_absolute() && plain {
        Ok(path.to_owned())
    } else {
        Err(source.error_in(steps, format!("{text:?} must be an absolute path without \"..\"")))
    }
}

fn socket(source: &Source, steps: &[Step<'_>], text: &str) -> Result<PathBuf, ConfigError> {
    if text.len() > LONGEST_SOCKET {
        let message =
            format!("{text:?} is longer than the {LONGEST_SOCKET} bytes that a socket path may have");
        return Err(source.error_in(steps, message));
    }
    absolute(source, steps, text)
}

/// The path in the file; without one the usual path, or the legacy one where only that exists.
fn tailscaled_socket(source: &Source, text: Option<&str>, default: &Config) -> Result<PathBuf, ConfigError> {
    if let Some(text) = text {
        return socket(source, &[Key("tailscale"), Key("socket")], text);
    }
    let legacy = Path::new("/var/run/tailscale/tailscaled.sock");
    let usual = &default.tailscale.socket;
    Ok(if !usual.exists() && legacy.exists() { legacy.to_owned() } else { usual.clone() })
}

fn listen(source: &Source, file: &raw::Listen, listen: &mut ListenConfig) -> Result<(), ConfigError> {
    let keys = [
        (&mut listen.socket, &file.socket, "socket"),
        (&mut listen.admin_socket, &file.admin_socket, "admin_socket"),
        (&mut listen.ops_socket, &file.ops_socket, "ops_socket"),
    ];
    for (path, text, key) in keys {
        if let Some(text) = text {
            *path = socket(source, &[Key("listen"), Key(key)], text)?;
        }
    }
    overlay(&mut listen.tailscale_ssh, file.tailscale_ssh);
    overlay(&mut listen.allow_unsafe_path, file.allow_unsafe_path);
    for (key, uid) in [("tailscaled_uid", file.tailscaled_uid), ("admin_uid", file.admin_uid)] {
        if uid == Some(NOBODY) {
            let message =
                "65534 is what a user namespace shows for every account it does not know: it proves nothing";
            return Err(source.error_in(&[Key("listen"), Key(key)], message));
        }
    }
    overlay(&mut listen.tailscaled_uid, file.tailscaled_uid);
    overlay(&mut listen.admin_uid, file.admin_uid);
    services(source, &file.service, listen)?;
    proxies(source, &file.proxy, listen)?;
    all_different(source, file, listen)
}

fn services(source: &Source, file: &[raw::Service], listen: &mut ListenConfig) -> Result<(), ConfigError> {
    for (index, service) in file.iter().enumerate() {
        let at = |key| [Key("listen"), Key("service"), Index(index), Key(key)];
        let name = service.name.parse().map_err(|error| {
            source.error_in(&at("name"), format!("{:?}: {error}; allowed: \"svc:NAME\"", service.name))
        })?;
        if listen.services.iter().any(|known| known.name == name) {
            return Err(source.error_in(&at("name"), format!("\"{name}\" has a socket already")));
        }
        let socket = socket(source, &at("socket"), &service.socket)?;
        listen.services.push(ServiceListener { name, socket });
    }
    Ok(())
}

fn proxies(source: &Source, file: &[raw::Proxy], listen: &mut ListenConfig) -> Result<(), ConfigError> {
    for (index, proxy) in file.iter().enumerate() {
        let at = |key| [Key("listen"), Key("proxy"), Index(index), Key(key)];
        let passwd = match &proxy.uid {
            Account::Number(_) => String::new(),
            Account::Name(_) => std::fs::read_to_string("/etc/passwd").unwrap_or_default(),
        };
        let uid = proxy.uid.uid(&passwd);
        let fail = |message: &str| Err(source.error_in(&at("uid"), message));
        let uid = match uid {
            None => {
                return fail(
                    "there is no such account in /etc/passwd; allowed: a uid, or the name of a local account",
                );
            }
            Some(0) => {
                return fail(
                    "0 is root, and tailscaled is root too: the proxy needs an account of its own, such as \"caddy\"",
                );
            }
            Some(NOBODY) => {
                return fail(
                    "65534 is nobody's uid: the proxy needs an account of its own, such as \"caddy\"",
                );
            }
            Some(uid) if uid == listen.tailscaled_uid || uid == listen.admin_uid => {
                return fail(
                    "this is the uid of tailscaled or of the administrator: the proxy needs an account of its own, such as \"caddy\"",
                );
            }
            Some(uid) => uid,
        };
        let socket = socket(source, &at("socket"), &proxy.socket)?;
        listen.proxies.push(ProxyListener { socket, uid });
    }
    Ok(())
}

/// One socket per role: a path that stands twice would give one of them the other's rights.
fn all_different(source: &Source, file: &raw::Listen, listen: &ListenConfig) -> Result<(), ConfigError> {
    let mut seen: Vec<&PathBuf> = Vec::new();
    let mut check = |path, steps: &[Step<'_>]| {
        if seen.contains(&path) {
            let message = format!("{} is the socket of another role too; each needs its own", path.display());
            return Err(source.error_in(steps, message));
        }
        seen.push(path);
        Ok(())
    };
    let own = [
        (&listen.socket, "socket", file.socket.is_some()),
        (&listen.admin_socket, "admin_socket", file.admin_socket.is_some()),
        (&listen.ops_socket, "ops_socket", file.ops_socket.is_some()),
    ];
    // Those that the file names come last, so that an error points at a line of it.
    for named in [false, true] {
        for (path, key, _) in own.iter().filter(|(_, _, is_named)| *is_named == named) {
            check(path, &[Key("listen"), Key(key)])?;
        }
    }
    for (index, service) in listen.services.iter().enumerate() {
        check(&service.socket, &[Key("listen"), Key("service"), Index(index), Key("socket")])?;
    }
    for (index, proxy) in listen.proxies.iter().enumerate() {
        check(&proxy.socket, &[Key("listen"), Key("proxy"), Index(index), Key("socket")])?;
    }
    Ok(())
}

fn identity(source: &Source, file: &raw::Identity, config: &mut Config) -> Result<(), ConfigError> {
    overlay(&mut config.identity.routers, file.routers);
    if let Some(LengthOrOff(length)) = file.max_stale {
        config.identity.max_stale = length;
    }
    if let Some(name) = &file.capability {
        let named =
            name.split_once('/').is_some_and(|(domain, rest)| domain.contains('.') && !rest.is_empty());
        if !named || !name.bytes().all(|byte| byte.is_ascii_graphic()) || name.contains("://") {
            let message = format!(
                "{name:?} is no capability; allowed: DOMAIN/NAME, as in \"example.com/cap/tsidecar\""
            );
            return Err(source.error_in(&[Key("identity"), Key("capability")], message));
        }
        config.identity.capability.clone_from(name);
    }
    Ok(())
}

fn claims(source: &Source, file: &raw::Claims, config: &mut Config) -> Result<(), ConfigError> {
    let check = |key, names: &[String], star: bool| {
        let bad = names.iter().find(|name| !(is_domain(name) || (star && *name == "*")));
        let also = if star { ", or \"*\"" } else { "" };
        bad.map_or(Ok(()), |name| {
            let message = format!(
                "{name:?} is no domain; allowed: a domain in small letters, as in \"example.com\"{also}"
            );
            Err(source.error_in(&[Key("claims"), Key(key)], message))
        })
    };
    if let Some(domains) = &file.local_domains {
        check("local_domains", domains, false)?;
        config.claims.local_domains = Some(domains.clone());
    }
    if let Some(domains) = &file.verified_domains {
        check("verified_domains", domains, true)?;
        config.claims.verified_domains.clone_from(domains);
    }
    if let Some(suffix) = &file.email_suffix {
        check("email_suffix", std::slice::from_ref(suffix), false)?;
        config.claims.email_suffix = Some(suffix.clone());
    }
    Ok(())
}

fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        let letters = label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
        !label.is_empty() && label.len() <= 63 && letters && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn limits(source: &Source, file: &raw::Limits, config: &mut Config) -> Result<(), ConfigError> {
    let within = |key, value: Option<usize>, default: usize, least: usize, most: usize| {
        let value = value.unwrap_or(default);
        if (least..=most).contains(&value) {
            Ok(value)
        } else {
            let message = format!("{value} is out of range; allowed: {least} to {most}");
            Err(source.error_in(&[Key("limits"), Key(key)], message))
        }
    };
    let limits = &mut config.limits;
    limits.requests_in_flight =
        within("requests_in_flight", file.requests_in_flight, limits.requests_in_flight, 1, 65_536)?;
    limits.connections = within("connections", file.connections, limits.connections, 1, 65_536)?;
    if let Some(number) = file.node_requests_per_minute {
        limits.node_requests_per_minute = NonZeroU32::new(number);
    }
    if let Some(number) = file.node_burst {
        let burst = NonZeroU32::new(number);
        let none =
            || source.error_in(&[Key("limits"), Key("node_burst")], "0 lets nobody in; allowed: 1 or more");
        limits.node_burst = burst.ok_or_else(none)?;
    }
    Ok(())
}

fn session_lifetime(source: &Source, lifetime: Lifetime) -> Result<Lifetime, ConfigError> {
    if (Lifetime::from_minutes(5)..=SIGNED_OUT_LIFETIME).contains(&lifetime) {
        return Ok(lifetime);
    }
    let message = format!("\"{}\" is out of range; allowed: \"5m\" to \"400d\"", spell(lifetime));
    Err(source.error_in(&[Key("session"), Key("lifetime")], message))
}

fn keys(source: &Source, file: &raw::Keys, keys: &mut KeysConfig) -> Result<(), ConfigError> {
    let fail = |key, message: String| Err(source.error_in(&[Key("keys"), Key(key)], message));
    // In days. Relying parties may keep the key set for a day.
    let (day, week, month, decade) = (1, 7, 30, 3_650);
    let within = |length: Lifetime, least: u64, most: u64| {
        (Lifetime::from_days(least)..=Lifetime::from_days(most)).contains(&length)
    };
    if let Some(Length(ahead)) = file.publish_ahead {
        if !within(ahead, day, month) {
            let message = format!("\"{}\" is out of range; allowed: \"1d\" to \"30d\"", spell(ahead));
            return fail("publish_ahead", message);
        }
        keys.publish_ahead = ahead;
    }
    if let Some(LengthOrOff(every)) = file.rotate_every {
        if let Some(every) = every.filter(|every| !within(*every, week, decade)) {
            let message =
                format!("\"{}\" is out of range; allowed: \"7d\" to \"3650d\", or \"off\"", spell(every));
            return fail("rotate_every", message);
        }
        keys.rotate_every = every;
    }
    if let Some(every) = keys.rotate_every.filter(|every| *every <= keys.publish_ahead) {
        let message = format!("must be shorter than rotate_every, which is \"{}\"", spell(every));
        return fail("publish_ahead", message);
    }
    if let Some(algorithms) = &file.algorithms {
        let missing = [Algorithm::Rs256, Algorithm::Es256].into_iter().find(|one| !algorithms.contains(one));
        if let Some(missing) = missing {
            let message = format!("\"{missing}\" must be in it; \"EdDSA\" may be, too");
            return fail("algorithms", message);
        }
        keys.algorithms.clone_from(algorithms);
    }
    Ok(())
}
