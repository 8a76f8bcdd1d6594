//! Judges what was gathered, in the order in which a person would look: this host, then tailscaled. Pure.

use tsidecar_localapi::{BackendState, Daemon, HttpHandler, ServeConfig, TargetKind};
use tsidecar_oauth::discovery::Registering;
use tsidecar_oauth::rule::parse_rules;
use tsidecar_oauth::uri::Issuer;

use super::facts::{Facts, Tailnet};
use super::{Check, host};
use crate::command::output::count;
use crate::config::{Config, TailscaleSsh};
use crate::state::{Look, issuer_of};
use crate::tailnet::{Boundary, Unready};

/// The capability number of tailscaled 1.102, the oldest that is recommended.
const RECOMMENDED: u32 = 142;

/// Judges everything.
pub(super) fn judge(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![
        host::configuration(facts),
        host::state(facts),
        host::keys(facts),
        host::daemon(facts),
        host::sockets(facts),
        host::clock(facts),
    ];
    match &facts.tailscaled {
        Ok(tailnet) => {
            let issuer = issuer(facts, tailnet);
            checks.push(version(tailnet.daemon.as_ref()));
            checks.push(up(tailnet));
            checks.push(network(tailnet));
            checks.push(name(facts, tailnet, issuer.as_ref()));
            if let Some(issuer) = &issuer {
                checks.push(certificate(&facts.config, tailnet, issuer));
                checks.push(front_door(&facts.config, tailnet, issuer));
                checks.extend(services(&facts.config, tailnet));
                checks.push(exposure(&facts.config, tailnet, issuer));
                checks.push(funnel(&facts.config, tailnet, issuer));
            }
            checks.push(ssh(&facts.config, tailnet));
            checks.push(capability(facts));
        }
        Err(error) => {
            let cure = "its socket is named in [tailscale] socket";
            checks.push(Check::fail("tailscaled", error, cure));
        }
    }
    checks
}

fn version(daemon: Option<&Daemon>) -> Check {
    const NAME: &str = "tailscaled";
    if let Err(error) = Unready::judge_version(daemon) {
        return Check::fail(NAME, error.to_string(), "upgrade Tailscale to 1.102 or newer");
    }
    let (version, capability) = daemon.map_or(("", 0), |daemon| (daemon.version.as_str(), daemon.capability));
    let patch =
        version.strip_prefix("1.98.").and_then(|rest| rest.split(['-', '.']).next()?.parse::<u32>().ok());
    if capability >= RECOMMENDED || patch.is_some_and(|patch| patch >= 9) {
        return Check::ok(NAME, format!("version {version}"));
    }
    let text =
        format!("version {version} works, but a malformed path, by Funnel too, can make its serve spin");
    Check::warn(NAME, text, "upgrade Tailscale to 1.102 or newer")
}

fn up(tailnet: &Tailnet) -> Check {
    const NAME: &str = "tailnet";
    let status = &tailnet.status;
    if status.backend_state != BackendState::Running {
        return Check::fail(
            NAME,
            format!("tailscaled is in the state {:?}", status.backend_state),
            "tailscale up",
        );
    }
    if status.self_node.expired {
        return Check::fail(NAME, "the key of this node has expired", "tailscale up --force-reauth");
    }
    if !status.self_node.online {
        let text = "up, but cut off from the control server: changes in the tailnet do not arrive";
        return Check::warn(NAME, text, "look at the network of this host, and at `tailscale status`");
    }
    let tailnet = status.current_tailnet.as_ref().map_or("", |tailnet| tailnet.name.as_str());
    Check::ok(NAME, format!("up, in {tailnet}"))
}

fn network(tailnet: &Tailnet) -> Check {
    const NAME: &str = "network";
    if tailnet.status.tun {
        return Check::ok(NAME, "kernel interface");
    }
    let cure = "let no program on this host trust connections from loopback";
    Check::warn(NAME, "userspace networking: peers reach every loopback port of this host", cure)
}

/// The issuer in force, as far as it can be known from here.
fn issuer(facts: &Facts, tailnet: &Tailnet) -> Option<Issuer> {
    let told = facts.daemon.as_ref().ok().and_then(|status| Issuer::parse(&status.issuer).ok());
    let pinned = match &facts.state {
        Look::Seen(seen) => seen.pins.as_ref().map(|pins| pins.issuer.clone()),
        Look::Absent | Look::Denied => None,
    };
    let configured = facts.config.issuer.clone();
    told.or(configured).or(pinned).or_else(|| issuer_of(&tailnet.status.self_node.dns_name))
}

/// Whether the issuer is the name of this node, or somebody else answers under it on purpose.
fn name(facts: &Facts, tailnet: &Tailnet, issuer: Option<&Issuer>) -> Check {
    const NAME: &str = "issuer";
    let (listen, own) = (&facts.config.listen, tailnet.status.self_node.dns_name.trim_end_matches('.'));
    let Some(issuer) = issuer else {
        let cure = "turn on MagicDNS (admin console, DNS), or set issuer in the configuration";
        return Check::fail(NAME, "this node has no DNS name, so there is no issuer", cure);
    };
    if issuer.host().eq_ignore_ascii_case(own) {
        return Check::ok(NAME, format!("{issuer} is the name of this node"));
    }
    if is_loopback(issuer) {
        return Check::ok(
            NAME,
            format!("{issuer} is for this machine alone, as in demonstrations and tests"),
        );
    }
    let label = issuer.host().split('.').next().unwrap_or_default();
    let service =
        listen.services.iter().find(|service| service.name.as_str().strip_prefix("svc:") == Some(label));
    if let Some(service) = service {
        return Check::ok(NAME, format!("{issuer} is the name of the Tailscale Service {}", service.name));
    }
    if !listen.proxies.is_empty() {
        return Check::ok(NAME, format!("{issuer}, served by your own reverse proxy"));
    }
    if facts.config.issuer.is_some() {
        let text =
            format!("the issuer is {issuer}, but this node is called {own}: nobody gets here by that name");
        let cure = format!(
            "set issuer = \"https://{own}\", or add the [[listen.proxy]] that serves {}",
            issuer.host()
        );
        return Check::fail(NAME, text, cure);
    }
    let text = format!("the issuer stays {issuer}, but this node is called {own} now");
    let cure =
        format!("give the node its name back; or set issuer = \"https://{own}\" and tell every application");
    Check::fail(NAME, text, cure)
}

/// Plain http is possible on loopback only.
fn is_loopback(issuer: &Issuer) -> bool {
    issuer.as_str().starts_with("http://")
}

/// Whether this node is the one to answer under the issuer's host.
fn is_served_here(config: &Config, tailnet: &Tailnet, issuer: &Issuer) -> bool {
    let own = tailnet.status.self_node.dns_name.trim_end_matches('.');
    let by_others = !config.listen.proxies.is_empty() || !config.listen.services.is_empty();
    issuer.host().eq_ignore_ascii_case(own) || !(by_others || is_loopback(issuer))
}

fn certificate(config: &Config, tailnet: &Tailnet, issuer: &Issuer) -> Check {
    const NAME: &str = "certificate";
    if !is_served_here(config, tailnet, issuer) {
        return Check::skip(NAME, format!("{} is not served by this node itself", issuer.host()));
    }
    let domains = &tailnet.status.cert_domains;
    if domains.iter().any(|domain| domain.eq_ignore_ascii_case(issuer.host())) {
        return Check::ok(NAME, format!("the tailnet gives one for {}", issuer.host()));
    }
    let text = format!("the tailnet gives no certificate for {}", issuer.host());
    Check::fail(NAME, text, "turn on HTTPS certificates (admin console, DNS)")
}

/// What `/` on a host and port of this node leads to, and whether only as long as a terminal is open.
fn mounted<'a>(tailnet: &'a Tailnet, host_port: &str) -> Option<(&'a HttpHandler, bool)> {
    tailnet.serve.targets().find_map(|target| match target.kind {
        TargetKind::Web { host_port: served, mount: "/" | "", handler }
            if target.place.service.is_none() && served.eq_ignore_ascii_case(host_port) =>
        {
            Some((handler, target.place.session.is_some()))
        }
        TargetKind::Web { .. } | TargetKind::TcpForward { .. } => None,
    })
}

/// Whether `tailscale serve` brings the issuer's host and port to our socket.
fn front_door(config: &Config, tailnet: &Tailnet, issuer: &Issuer) -> Check {
    const NAME: &str = "serve";
    if !is_served_here(config, tailnet, issuer) {
        return Check::skip(NAME, format!("{} is not served by this node itself", issuer.host()));
    }
    let host_port = issuer.host_and_port();
    let port = host_port.rsplit_once(':').map_or("443", |(_, port)| port);
    let target = format!("unix:{}", config.listen.socket.display());
    let command = format!("run: tailscale serve --bg --https={port} {target}");
    match mounted(tailnet, &host_port) {
        None => Check::fail(NAME, format!("nothing answers on {host_port}"), command),
        Some((handler, _)) if handler.proxy.trim_end_matches('/') != target => {
            let places = [&handler.proxy, &handler.path, &handler.redirect];
            let what = places.into_iter().find(|text| !text.is_empty()).map_or("a text", String::as_str);
            Check::fail(NAME, format!("{host_port} leads to {what}, not to tsidecar"), command)
        }
        Some((_, true)) => {
            let text =
                format!("{host_port} leads to tsidecar only as long as `tailscale serve` runs in a terminal");
            Check::warn(NAME, text, command)
        }
        Some((_, false)) => Check::ok(NAME, format!("{host_port} leads to {target}")),
    }
}

fn services<'a>(config: &'a Config, tailnet: &'a Tailnet) -> impl Iterator<Item = Check> + use<'a> {
    const NAME: &str = "service";
    config.listen.services.iter().map(|service| {
        let (name, target) = (service.name.as_str(), format!("unix:{}", service.socket.display()));
        if let Err(error) = Unready::judge_services(tailnet.daemon.as_ref()) {
            return Check::fail(NAME, error.to_string(), "upgrade Tailscale to 1.102 or newer");
        }
        let leads_here = tailnet.serve.targets().any(|found| match found.kind {
            TargetKind::Web { mount: "/" | "", handler, .. } => {
                found.place.service == Some(name) && handler.proxy.trim_end_matches('/') == target
            }
            TargetKind::Web { .. } | TargetKind::TcpForward { .. } => false,
        });
        if leads_here {
            return Check::ok(NAME, format!("{name} leads to {target}"));
        }
        let command = format!("run: tailscale serve --bg --service={name} --https=443 {target}");
        Check::fail(NAME, format!("{name} does not lead to {target}"), command)
    })
}

/// Whether strangers reach our sockets, or share our origin.
fn exposure(config: &Config, tailnet: &Tailnet, issuer: &Issuer) -> Check {
    const NAME: &str = "exposure";
    let listen = &config.listen;
    let mut sockets = vec![listen.socket.clone(), listen.admin_socket.clone(), listen.ops_socket.clone()];
    sockets.extend(listen.services.iter().map(|service| service.socket.clone()));
    sockets.extend(listen.proxies.iter().map(|proxy| proxy.socket.clone()));
    // Tailscale SSH has a check of its own.
    let boundary = Boundary { sockets, issuer: issuer.clone(), tailscale_ssh: TailscaleSsh::Trusted };
    match boundary.judge(&tailnet.serve, &tailnet.prefs) {
        Ok(()) => Check::ok(NAME, "no TCP forward leads to tsidecar, and nothing shares its origin"),
        Err(found) => Check::fail(NAME, found.to_string(), "look at: tailscale serve status"),
    }
}

fn funnel(config: &Config, tailnet: &Tailnet, issuer: &Issuer) -> Check {
    const NAME: &str = "funnel";
    let on =
        |config: &ServeConfig| config.allow_funnel.get(&issuer.host_and_port()).copied().unwrap_or_default();
    if on(&tailnet.serve) || tailnet.serve.foreground.values().any(on) {
        let register = match config.registration.from {
            Registering::Tailnet => "",
            Registering::Anywhere => ", and may register applications",
        };
        let text = format!(
            "on: the internet reaches discovery, /token and /userinfo{register}; people sign in from the tailnet only"
        );
        return Check::ok(NAME, text);
    }
    Check::ok(NAME, "off: only applications in the tailnet can use this provider")
}

fn ssh(config: &Config, tailnet: &Tailnet) -> Check {
    const NAME: &str = "ssh";
    match (tailnet.prefs.run_ssh, config.listen.tailscale_ssh) {
        (false, _) => Check::ok(NAME, "Tailscale SSH is off"),
        (true, TailscaleSsh::Refuse) => {
            let text = "Tailscale SSH is on: whoever may forward through this host may be anybody";
            let cure = "run: tailscale set --ssh=false; or, if you trust all its users, set [listen] tailscale_ssh = \"trusted\"";
            Check::fail(NAME, text, cure)
        }
        (true, TailscaleSsh::Trusted) => {
            let text = "Tailscale SSH is on, and its users are trusted: each of them may sign in as anybody";
            Check::warn(NAME, text, "turn it off on this host if you can: tailscale set --ssh=false")
        }
    }
}

/// Whether the rules of the tailnet policy arrive for a peer.
fn capability(facts: &Facts) -> Check {
    const NAME: &str = "capability";
    let capability = &facts.config.identity.capability;
    let Some((address, answer)) = &facts.peer else {
        return Check::skip(NAME, "name a peer to see which rules arrive for it: --peer ADDR");
    };
    let whois = match answer {
        Ok(Some(whois)) => whois,
        Ok(None) => {
            let text = format!("nobody in the tailnet has the address {address}");
            return Check::fail(NAME, text, "take one from `tailscale status`");
        }
        Err(error) => return Check::fail(NAME, error, "look at `tailscale status`"),
    };
    let values = whois.cap_map.values(capability);
    let (rules, skipped) = parse_rules(values.iter().map(|value| value.get()));
    let who = whois.user_profile.login_name.as_str();
    if let Some(error) = skipped.first() {
        let text = format!("for {who} a part of the rules is left out: {error}");
        return Check::warn(
            NAME,
            text,
            format!("correct the grant of {capability} in the tailnet policy file"),
        );
    }
    if rules.is_empty() {
        let text = format!(
            "no rule of {capability} arrives for {who}; fine, unless you expect groups or claims of it"
        );
        return Check::ok(NAME, text);
    }
    Check::ok(NAME, format!("{} of {capability} for {who}", count(rules.len(), "rule")))
}
