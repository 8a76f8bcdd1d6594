//! `/admin/…`: how the daemon is, its keys, and for whom an address would be taken.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::{Method, Request, StatusCode};
use tsidecar_oauth::id::Listener;
use tsidecar_oauth::identity::{Device, Identity, IdentityKind};
use tsidecar_oauth::workload::{Workload, WorkloadRule};

use super::answer;
use super::error::AdminError;
use super::shape::{DeviceAnswer, StatusAnswer, WhoisAnswer};
use crate::app::App;
use crate::identity::Sighting;
use crate::keys::KeyInfo;
use crate::snapshot::Snapshot;
use crate::web::response::Answer;

pub(super) async fn route<B>(app: &Arc<App>, request: &Request<B>) -> Result<Answer, AdminError> {
    let path = request.uri().path();
    if !matches!(path, "/admin/keys" | "/admin/status" | "/admin/whois") {
        return Err(AdminError::NoPath);
    }
    if request.method() != Method::GET {
        return Err(AdminError::Method("GET"));
    }
    let snapshot = app.snapshot.load_full();
    match path {
        "/admin/keys" => answer(StatusCode::OK, &KeyInfo::all(&snapshot.keys, &snapshot.key_policy())),
        "/admin/status" => answer(StatusCode::OK, &status(app, &snapshot)),
        _ => {
            let address = address(request.uri().query().unwrap_or_default())?;
            let sighting = snapshot.recognise(app.tailnet.identify(address, &Listener::host()).await?);
            answer(StatusCode::OK, &tell(address, &sighting, &snapshot))
        }
    }
}

fn status(app: &App, snapshot: &Snapshot) -> StatusAnswer {
    let reason = app.tailnet.readiness().err().map(|unready| unready.to_string());
    StatusAnswer {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        issuer: snapshot.issuer.as_str().to_owned(),
        ready: reason.is_none(),
        reason,
        clients: snapshot.clients.len(),
        now: app.clock.now().as_secs(),
        config: app.config.file.display().to_string(),
        state_dir: app.config.state_dir.display().to_string(),
    }
}

fn address(query: &str) -> Result<IpAddr, AdminError> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let text = pairs.find(|(name, _)| name == "addr").map(|(_, value)| value).unwrap_or_default();
    let wrong = || AdminError::Invalid(format!("addr must be one IP address without a port, not {text:?}"));
    text.parse().map_err(|_| wrong())
}

/// Tells for whom requests from an address are taken, and to which clients that person may sign in.
pub(super) fn tell(address: IpAddr, sighting: &Sighting, snapshot: &Snapshot) -> WhoisAnswer {
    let nobody = |kind: &str, reason: Option<String>| WhoisAnswer {
        address: address.to_string(),
        kind: kind.to_owned(),
        reason,
        subject: None,
        login: None,
        name: None,
        groups: Vec::new(),
        device: None,
        rules: 0,
        clients: std::collections::BTreeMap::new(),
    };
    match sighting {
        Sighting::Person(identity) => WhoisAnswer {
            subject: Some(identity.subject.as_str().to_owned()),
            login: Some(identity.login.clone()).filter(|login| !login.is_empty()),
            name: Some(identity.display_name.clone()).filter(|name| !name.is_empty()),
            groups: identity.groups.clone(),
            device: Some(device(&identity.device)),
            rules: identity.rules.len(),
            clients: admitted(identity, snapshot),
            ..nobody(kind(identity), None)
        },
        Sighting::Workload(workload) => WhoisAnswer {
            device: Some(device(&workload.device)),
            rules: workload.rules.len(),
            clients: speaks_for(workload, snapshot),
            ..nobody("workload", None)
        },
        Sighting::Refused(node) => nobody("refused", Some(node.to_string())),
        Sighting::Unknown => nobody("unknown", Some("nobody in the tailnet has this address".to_owned())),
    }
}

const fn kind(identity: &Identity) -> &'static str {
    match identity.kind {
        IdentityKind::User => "person",
        IdentityKind::External => "external",
        IdentityKind::Tagged(_) => "tagged",
    }
}

fn device(device: &Device) -> DeviceAnswer {
    DeviceAnswer {
        id: device.id.as_str().to_owned(),
        name: device.name.clone(),
        addresses: device.addresses.clone(),
        tags: device.tags.clone(),
    }
}

/// For which of its tags that are workloads a node may speak, and for which not.
fn speaks_for(node: &Workload, snapshot: &Snapshot) -> std::collections::BTreeMap<String, String> {
    let rules = node.device.tags.iter().filter_map(|tag| snapshot.workloads.get(tag)?.workload());
    let judge = |rule: &WorkloadRule| match rule.judge(node) {
        Ok(()) => (rule.tag.clone(), "allowed".to_owned()),
        Err(reason) => (rule.tag.clone(), reason.to_string()),
    };
    rules.map(judge).collect()
}

fn admitted(identity: &Identity, snapshot: &Snapshot) -> std::collections::BTreeMap<String, String> {
    let judge = |client: &Arc<tsidecar_oauth::client::Client>| {
        let judged = match snapshot.policy.admit(client, identity) {
            Ok(()) if client.is_disabled() => "the client is disabled".to_owned(),
            Ok(()) => "allowed".to_owned(),
            Err(denied) => denied.to_string(),
        };
        (client.id().as_str().to_owned(), judged)
    };
    snapshot.clients.values().map(judge).collect()
}
