//! `tsidecar client`: clients of the running daemon.

use hyper::Method;
use serde_json::{Value, json};
use tsidecar_oauth::client::{AuthMethod, Login};
use tsidecar_oauth::time::UnixTime;

use super::ask::{CommandError, Daemon, segment};
use super::keys::{self, length};
use super::output::{Output, columns, plain};
use crate::endpoint::admin::documents::{DocumentsAnswer, Origin};
use crate::endpoint::admin::shape::{ApproveRequest, ClientAnswer, RotateRequest, Rotation, StatusAnswer};

/// What to do with clients.
#[derive(Debug, clap::Subcommand)]
pub enum ClientCommand {
    /// Show every client.
    List,
    /// Show one client.
    Show {
        /// The client id.
        id: String,
    },
    /// Make a client, and print its secret, once.
    ///
    /// It can have the settings below only: grant types, keys of its own, logout, login modes, pushed requests, DPoP and lives of
    /// tokens are set by an entry of the configuration file, or by PUT /clients/ID on admin.sock.
    Add(Box<Add>),
    /// Give a client a new secret, and print it, once. The one before stays valid beside it until --finish or --now.
    RotateSecret(Rotate),
    /// Approve a client that registered itself, or is known by its document, as it is now: people sign in to it without a page.
    ///
    /// Any change of its name, redirect URIs, keys, method of authentication, grant types, or of what it must sign or bind ends the
    /// approval. Whoever registered the client may change it at any time, so give the METADATA that `client show` printed with what you looked at: nothing
    /// is approved if the client is another thing by now. What was approved is printed.
    Approve {
        /// The client id.
        id: String,
        /// The digest of what you looked at, from `client show` or `client list --json` [default: whatever the client is now].
        metadata: Option<String>,
    },
    /// Take an approval back; people are asked again, and whoever was signed in without being asked is signed out.
    ///
    /// Codes and refresh tokens of such sign-ins end, and userinfo and introspection say so at once; an access token that a resource
    /// server checks by itself lives out its minutes. What people have allowed on the page stays (`tsidecar consent revoke`).
    Disapprove {
        /// The client id.
        id: String,
    },
    /// Show the clients that are known by a document at their id, and where each document comes from.
    ///
    /// SIGHUP has those from the web fetched anew.
    Documents,
    /// Remove a client; everything that was issued to it is void.
    Remove {
        /// The client id.
        id: String,
    },
}

/// A new client.
#[derive(Debug, clap::Args)]
pub struct Add {
    /// The client id; one is made when there is none.
    #[arg(long)]
    id: Option<String>,
    /// The name that people see [default: the id].
    #[arg(long)]
    name: Option<String>,
    /// A redirect URI, compared byte for byte; may be repeated.
    #[arg(long = "redirect-uri", value_name = "URI", required = true)]
    redirect_uris: Vec<String>,
    /// A client without a secret: an application in a browser, on a phone or on the command line.
    #[arg(long, conflicts_with = "auth_method")]
    public: bool,
    /// Accept only this method of authentication [default: Basic and post alike].
    #[arg(long, value_name = "METHOD", value_parser = ["client_secret_basic", "client_secret_post"])]
    auth_method: Option<String>,
    /// When PKCE is needed [default: or-nonce; required for a public client].
    #[arg(long, value_name = "RULE", value_parser = ["required", "or-nonce", "optional"])]
    pkce: Option<String>,
    /// Who may sign in, by login name; may be repeated [default: everybody whom the tailnet lets reach us].
    #[arg(long = "allow-user", value_name = "LOGIN")]
    allow_users: Vec<String>,
    /// Who may sign in, by group; may be repeated.
    #[arg(long = "allow-group", value_name = "GROUP")]
    allow_groups: Vec<String>,
    /// Who may sign in, by tag of the device; may be repeated.
    #[arg(long = "allow-tag", value_name = "TAG")]
    allow_tags: Vec<String>,
    /// Whoever holds a capability rule that names this client may sign in.
    #[arg(long)]
    allow_capability: bool,
    /// The algorithm of ID tokens [default: RS256].
    #[arg(long, value_name = "ALG", value_parser = ["RS256", "ES256", "EdDSA"])]
    id_token_alg: Option<String>,
    /// Sign userinfo with this algorithm [default: plain JSON].
    #[arg(long, value_name = "ALG", value_parser = ["RS256", "ES256", "EdDSA"])]
    userinfo_alg: Option<String>,
}

/// A new secret.
#[derive(Debug, clap::Args)]
pub struct Rotate {
    /// The client id.
    id: String,
    /// The secrets before are void at once.
    #[arg(long)]
    now: bool,
    /// Make no new secret: of two the older is void.
    #[arg(long, conflicts_with = "now")]
    finish: bool,
}

/// Runs the command.
pub async fn run(daemon: &Daemon, command: ClientCommand) -> Result<Output, CommandError> {
    match command {
        ClientCommand::List => list(daemon).await,
        ClientCommand::Show { id } => {
            let client: ClientAnswer = daemon.get(&path(&id)).await?;
            Ok(Output::done(describe(&client, keys::now(daemon).await?), &client))
        }
        ClientCommand::Add(add) => make(daemon, *add).await,
        ClientCommand::RotateSecret(rotate) => change_secret(daemon, &rotate).await,
        ClientCommand::Approve { id, metadata } => approve(daemon, &id, metadata).await,
        ClientCommand::Disapprove { id } => {
            let path = format!("{}/disapprove", path(&id));
            let told: Value = daemon.ask(Method::POST, &path, None::<&()>).await?;
            let text = format!(
                "Client \"{}\" is not approved any more; grants that ended with it: {}.",
                plain(&id),
                told.get("ended").and_then(Value::as_u64).unwrap_or_default()
            );
            Ok(Output::done(text, &told))
        }
        ClientCommand::Documents => documents(daemon).await,
        ClientCommand::Remove { id } => {
            let _: Value = daemon.ask(Method::DELETE, &path(&id), None::<&()>).await?;
            let text =
                format!("Client \"{}\" is removed; everything that was issued to it is void.", plain(&id));
            Ok(Output::done(text, &json!({ "client_id": id, "removed": true })))
        }
    }
}

async fn approve(daemon: &Daemon, id: &str, metadata: Option<String>) -> Result<Output, CommandError> {
    let path = format!("{}/approve", path(id));
    let client: ClientAnswer = daemon.ask(Method::POST, &path, Some(&ApproveRequest { metadata })).await?;
    let text = format!("Client \"{}\" is approved as it is now:", plain(id));
    let text = format!("{text}\n{}", describe(&client, keys::now(daemon).await?));
    Ok(Output::done(text, &client))
}

fn path(id: &str) -> String {
    format!("/clients/{}", segment(id))
}

async fn list(daemon: &Daemon) -> Result<Output, CommandError> {
    let clients: Vec<ClientAnswer> = daemon.get("/clients/").await?;
    if clients.is_empty() {
        let text = "There is no client yet. `tsidecar client add` makes one, or a [[client]] in the configuration file.";
        return Ok(Output::done(text.to_owned(), &clients));
    }
    let mut rows = vec![["ID", "NAME", "TYPE", "STATE", "FROM"].map(str::to_owned).to_vec()];
    rows.extend(clients.iter().map(|client| {
        let state = if client.disabled { "disabled" } else { "enabled" };
        let cells = [&client.client_id, &client.client_name, kind(client), state, &client.source];
        cells.map(str::to_owned).to_vec()
    }));
    Ok(Output::done(columns(&rows), &clients))
}

async fn documents(daemon: &Daemon) -> Result<Output, CommandError> {
    let found: DocumentsAnswer = daemon.get("/admin/documents").await?;
    let mut rows = vec![["ID", "NAME", "FROM", "TRUSTED", "RETURNS TO"].map(str::to_owned).to_vec()];
    rows.extend(found.documents.iter().map(|document| {
        let from = match (document.from, &document.file) {
            (Origin::Pinned, Some(file)) => file.clone(),
            (Origin::Pinned, None) => "a file".to_owned(),
            (Origin::Fetched, _) => "the web".to_owned(),
            (Origin::Stale, _) => "the web, to be fetched anew".to_owned(),
            (Origin::Shipped, _) => "tsidecar".to_owned(),
        };
        let trusted = if document.trusted { "yes" } else { "no" }.to_owned();
        let places = document.redirect_uris.join(" ");
        vec![document.client_id.clone(), document.client_name.clone(), from, trusted, places]
    }));
    let notes = match (found.enabled, found.fetched) {
        (false, _) => "None of them counts: [clients] cimd = false.",
        (true, false) => "No others are fetched: [clients] fetch_documents = false.",
        (true, true) => "Others are fetched when they are used.",
    };
    Ok(Output::done(columns(&rows), &found).with_notes(notes.to_owned()))
}

fn kind(client: &ClientAnswer) -> &'static str {
    if client.token_endpoint_auth_method == Some(AuthMethod::None) { "public" } else { "confidential" }
}

fn describe(client: &ClientAnswer, now: UnixTime) -> String {
    let mut rows = vec![
        ("id", client.client_id.clone()),
        ("name", client.client_name.clone()),
        ("type", kind(client).to_owned()),
        ("state", if client.disabled { "disabled" } else { "enabled" }.to_owned()),
        ("from", client.source.clone()),
    ];
    rows.extend(origin(client, now));
    rows.extend(client.redirect_uris.iter().map(|uri| ("redirect URI", uri.clone())));
    if client.metadata.is_some() {
        rows.extend(client.grant_types.iter().map(|grant| ("grant type", grant.as_str().to_owned())));
    }
    if let Some(method) = client.token_endpoint_auth_method.filter(|method| *method != AuthMethod::None) {
        rows.push(("authenticates", format!("by {} only", method.as_str())));
    }
    if client.secrets > 1 {
        rows.push((
            "secrets",
            "two are valid; `tsidecar client rotate-secret --finish` ends the older".to_owned(),
        ));
    }
    let pkce = serde_json::to_value(client.pkce).unwrap_or_default();
    rows.push(("PKCE", pkce.as_str().unwrap_or_default().to_owned()));
    rows.push(("may sign in", allowed(client)));
    rows.push((
        "ID token",
        format!("{}, for {}", client.id_token_signed_response_alg, client.id_token_lifetime),
    ));
    if let Some(algorithm) = client.userinfo_signed_response_alg {
        rows.push(("userinfo", format!("signed with {algorithm}")));
    }
    rows.push(("access token", format!("for {}", client.access_token_lifetime)));
    let (idle, absolute) = (&client.refresh_idle_lifetime, &client.refresh_absolute_lifetime);
    rows.push(("refresh token", format!("for {idle} unused, {absolute} in all")));
    rows.extend(settings(client));
    columns(&rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect::<Vec<_>>())
}

/// Where a client comes from that registered itself.
fn origin(client: &ClientAnswer, now: UnixTime) -> Vec<(&'static str, String)> {
    let ago = |at: UnixTime| format!("{} ago", length(at.until(now)));
    let mut rows = Vec::new();
    rows.extend(client.registered_by.as_ref().map(|by| ("registered by", by.clone())));
    rows.extend(client.registered_at.map(|at| ("registered", ago(at))));
    rows.extend(client.last_used.map(|at| ("last used", ago(at))));
    match client.approved {
        Some(true) => rows.push(("approval", "approved as it is".to_owned())),
        Some(false) => {
            rows.push((
                "approval",
                "not approved; `tsidecar client approve ID METADATA` spares people the page".to_owned(),
            ));
        }
        None => (),
    }
    rows.extend(client.metadata.as_ref().map(|digest| ("metadata", digest.clone())));
    rows
}

/// Settings that most clients leave alone, where they are set.
fn settings(client: &ClientAnswer) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    match client.login {
        Login::Ambient => (),
        Login::Session => rows.push(("login", "by session".to_owned())),
        Login::Confirm => rows.push(("login", "after a click on each page".to_owned())),
    }
    if let Some(uri) = &client.jwks_uri {
        rows.push(("keys", format!("at {uri}")));
    }
    if client.jwks.is_some() {
        rows.push(("keys", "registered".to_owned()));
    }
    if client.jwks_uri.is_some() || client.jwks.is_some() {
        let names: Vec<_> = client.assertion_algs.iter().map(|algorithm| algorithm.as_str()).collect();
        rows.push(("assertions", names.join(", ")));
    }
    if client.token_endpoint_audience {
        rows.push(("assertions", "also for the URL of the token endpoint".to_owned()));
    }
    if let Some(algorithm) = client.request_object_signing_alg {
        rows.push(("request objects", format!("signed with {algorithm}")));
    }
    for (name, is_set, value) in [
        ("request objects", client.require_signed_request_object, "always"),
        ("pushed requests", client.require_pushed_authorization_requests, "always"),
        ("DPoP", client.dpop_bound_access_tokens, "always"),
    ] {
        rows.extend(is_set.then(|| (name, value.to_owned())));
    }
    rows.extend(client.post_logout_redirect_uris.iter().map(|uri| ("after logout", uri.clone())));
    if let Some(uri) = &client.backchannel_logout_uri {
        let session = if client.backchannel_logout_session_required { ", with the session" } else { "" };
        rows.push(("told of logouts", format!("{uri}{session}")));
    }
    rows
}

fn allowed(client: &ClientAnswer) -> String {
    let Some(allow) = &client.allow else { return "everybody whom the tailnet lets reach us".to_owned() };
    let capability = allow.capability.then(|| "holders of a capability rule for it".to_owned());
    let names = allow.users.iter().chain(&allow.groups).chain(&allow.tags).cloned().chain(capability);
    let names: Vec<String> = names.collect();
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

async fn make(daemon: &Daemon, add: Add) -> Result<Output, CommandError> {
    let client: ClientAnswer = daemon.ask(Method::POST, "/clients/new", Some(&body(add))).await?;
    let status: StatusAnswer = daemon.get("/admin/status").await?;
    let mut rows = vec![
        vec!["issuer".to_owned(), status.issuer.clone()],
        vec!["discovery".to_owned(), format!("{}/.well-known/openid-configuration", status.issuer)],
        vec!["client id".to_owned(), client.client_id.clone()],
    ];
    rows.extend(secret_row(&client));
    let text = format!("Client \"{}\" is ready.\n{}", plain(&client.client_id), columns(&rows));
    Ok(Output::done(text, &client))
}

fn secret_row(client: &ClientAnswer) -> Option<Vec<String>> {
    let secret = client.client_secret.as_ref()?;
    Some(vec!["client secret".to_owned(), format!("{secret}   (shown only now)")])
}

fn body(add: Add) -> Value {
    let method = if add.public { Some("none".to_owned()) } else { add.auth_method };
    let restricted = add.allow_capability
        || [&add.allow_users, &add.allow_groups, &add.allow_tags].iter().any(|names| !names.is_empty());
    let allow = json!({
        "users": add.allow_users,
        "groups": add.allow_groups,
        "tags": add.allow_tags,
        "capability": add.allow_capability,
    });
    json!({
        "client_id": add.id,
        "client_name": add.name,
        "redirect_uris": add.redirect_uris,
        "token_endpoint_auth_method": method,
        "pkce": add.pkce,
        "allow": restricted.then_some(allow),
        "id_token_signed_response_alg": add.id_token_alg,
        "userinfo_signed_response_alg": add.userinfo_alg,
    })
}

async fn change_secret(daemon: &Daemon, rotate: &Rotate) -> Result<Output, CommandError> {
    let mode = match (rotate.now, rotate.finish) {
        (true, _) => Rotation::Now,
        (false, true) => Rotation::Finish,
        (false, false) => Rotation::Overlap,
    };
    let path = format!("{}/rotate-secret", path(&rotate.id));
    let client: ClientAnswer = daemon.ask(Method::POST, &path, Some(&RotateRequest { mode })).await?;
    let text = match mode {
        Rotation::Overlap => {
            "The new secret is valid, and so is the one before: give the application the new one, then run this again with --finish."
        }
        Rotation::Now => "The new secret is valid, and those before are void.",
        Rotation::Finish => "Only the newest secret is valid.",
    };
    let rows: Vec<_> = secret_row(&client).into_iter().collect();
    let text = if rows.is_empty() { text.to_owned() } else { format!("{text}\n{}", columns(&rows)) };
    Ok(Output::done(text, &client))
}
