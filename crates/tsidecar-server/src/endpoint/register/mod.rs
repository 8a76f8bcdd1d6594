//! `/register`: a client makes itself known (RFC 7591), and [`manage`] what it registered (RFC 7592).
//!
//! Who may, says the policy (`allow_dcr`); what a client is worth afterwards is judged at each authorization. So a registration
//! gives nobody anything but a name to ask people with.

pub mod manage;
mod refused;
mod who;

use std::sync::Arc;

use hyper::header::HeaderMap;
use hyper::{Request, StatusCode};
use serde_json::Value;
use tsidecar_oauth::client::{Client, ClientSpec};
use tsidecar_oauth::discovery::REGISTER;
use tsidecar_oauth::id::ClientId;
use tsidecar_oauth::metadata::{ClientMetadata, Source, echo, names_all};
use tsidecar_oauth::provenance::Registration;
use tsidecar_oauth::secret::{ClientSecret, SecretDigest};
use tsidecar_oauth::uri::{FetchUrl, Issuer};

use self::refused::Refused;
use crate::app::App;
use crate::clients;
use crate::failure::Failure;
use crate::keys::rotation::Bench;
use crate::outbound::{Errand, Requester, Standing, Trust, Want};
use crate::peer::Caller;
use crate::snapshot::{Snapshot, has_keys};
use crate::store::{RegisteredClient, StoreError};
use crate::web::body;
use crate::web::inbound::Inbound;
use crate::web::response::{Answer, json};
use crate::{audit, entropy};

/// Answers a registration request.
pub async fn handle(
    app: &Arc<App>,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Answer {
    match register(app, snapshot, caller, request).await {
        Ok(body) => json(StatusCode::CREATED, body),
        Err(refused) => {
            audit::registration_refused(caller, None, &refused);
            refused.answer(&snapshot.issuer)
        }
    }
}

async fn register(
    app: &App,
    snapshot: &Snapshot,
    caller: &Caller,
    request: Request<Inbound>,
) -> Result<Vec<u8>, Refused> {
    let sender = who::sender(app, snapshot, caller).await?;
    let metadata = read(request).await?;
    let now = app.clock.now();
    let id = ClientId::parse(&clients::new_id()).map_err(|error| broken(&error))?;
    let secret = metadata.needs_secret().then(|| ClientSecret::generate(entropy::secret()));
    let token = ClientSecret::generate(entropy::secret());
    let registration = Registration { by: sender.registrar.clone(), at: now };
    let secrets = secret.iter().map(ClientSecret::digest).collect();
    let judged = Judged::of(snapshot, metadata, (&id, secrets, &registration))?;
    // Only what would be a client is counted; what is fetched and made for it comes after.
    app.registrations.check(sender.lot()).map_err(Refused::TooMany)?;
    let (spec, beside) = judged.provide(app, caller).await?;
    let record = RegisteredClient {
        id,
        spec,
        registration,
        token: token.digest(),
        used_at: now,
        keep_for: snapshot.config().registration.expires_unused,
        metadata: beside,
    };
    let told = tell(&record, &snapshot.issuer, secret.as_ref(), &token)?;
    let intent = app.store.intent();
    let pending = app.store.put_registered(record.clone(), now);
    drop(intent);
    pending.await.map_err(too_large)?;
    audit::registered(caller, &record);
    Ok(told)
}

/// Reads the body: JSON and nothing else, so that no form of another site's page is one.
async fn read(request: Request<Inbound>) -> Result<ClientMetadata, Refused> {
    let (parts, body) = request.into_parts();
    if !is_json(&parts.headers) {
        return Err(Failure::invalid_request("the Content-Type must be application/json").into());
    }
    let body = body::read(body).await?;
    Ok(ClientMetadata::parse(&body, Source::Registration)?)
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(hyper::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = value.and_then(|value| value.split(';').next()).unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

/// Metadata that makes a client, as far as it says by itself.
struct Judged {
    client: Client,
    beside: String,
    sector: Option<FetchUrl>,
}

impl Judged {
    /// Judges metadata as a whole.
    fn of(
        snapshot: &Snapshot,
        metadata: ClientMetadata,
        (id, secrets, registration): (&ClientId, Vec<SecretDigest>, &Registration),
    ) -> Result<Self, Refused> {
        let (beside, sector) = (metadata.beside(), metadata.sector().cloned());
        let spec = metadata.into_spec(id, secrets, snapshot.config().registration.pkce);
        Ok(Self { client: Client::registered(spec, registration.clone())?, beside, sector })
    }

    /// Looks at what the metadata leads to, and sees to it that what is to be signed for the client can be.
    async fn provide(self, app: &App, caller: &Caller) -> Result<(ClientSpec, String), Refused> {
        if let Some(sector) = &self.sector {
            check_sector(app, caller, sector, &self.client.spec().redirect_uris).await?;
        }
        provide_keys(app, &self.client).await?;
        Ok((self.client.spec().clone(), self.beside))
    }
}

/// The list that a client names must have every redirect URI of it (OpenID Connect Dynamic Client Registration §5).
async fn check_sector(
    app: &App,
    caller: &Caller,
    sector: &FetchUrl,
    redirect_uris: &[String],
) -> Result<(), Refused> {
    const WANT: Want = Want { accept: "application/json", most_bytes: 16 * 1024 };
    let requester = Requester::Caller(caller.origin());
    let errand = Errand { trust: Trust::Stranger, standing: Standing::New, requester };
    let fetched = app.outbound.get(sector, errand, WANT).await;
    match fetched {
        Ok(fetched) if fetched.status == StatusCode::OK && names_all(&fetched.body, redirect_uris) => Ok(()),
        Ok(_) | Err(_) => Err(Refused::metadata(
            "sector_identifier_uri must lead to a JSON array that names every redirect URI, and be reachable from here",
        )),
    }
}

/// Makes the keys that a client asks for and that nobody has asked for yet; a reload and a rotation keep them.
async fn provide_keys(app: &App, client: &Client) -> Result<(), Refused> {
    let wanted = client.spec().signing_algorithms();
    if wanted.into_iter().all(|algorithm| app.snapshot.load().demand().algorithms.contains(&algorithm)) {
        return Ok(());
    }
    let changes = Arc::clone(app.snapshot.load().changes());
    let _held = changes.lock().await;
    let demand = app.snapshot.load().demand().clone().with_algorithms(client.spec().signing_algorithms());
    let provided = Bench::of(app).provide(demand).await.map_err(|error| broken(&error))?;
    has_keys(client, &provided.signing).map_err(|error| Refused::metadata(error.to_string()))?;
    let next = provided.with_registered(client.spec().signing_algorithms(), &app.store.clients()?);
    app.snapshot.store(Arc::new(next.map_err(|error| broken(&error))?));
    Ok(())
}

/// What a client is told of its registration (RFC 7591 §3.2.1, RFC 7592 §3). Its secret is told when it is made, and never again.
fn tell(
    record: &RegisteredClient,
    issuer: &Issuer,
    secret: Option<&ClientSecret>,
    token: &ClientSecret,
) -> Result<Vec<u8>, Failure> {
    let mut all = echo(&record.spec, &record.metadata);
    let mut say = |name: &str, value: Value| all.insert(name.to_owned(), value);
    say("client_id", record.id.as_str().into());
    say("client_id_issued_at", record.registration.at.as_secs().into());
    if let Some(secret) = secret {
        say("client_secret", secret.expose().into());
        say("client_secret_expires_at", 0.into());
    }
    say("registration_access_token", token.expose().into());
    let uri = issuer.endpoint(&format!("{REGISTER}/{}", record.id));
    say("registration_client_uri", uri.into());
    Ok(serde_json::to_vec(&all)?)
}

fn too_large(error: StoreError) -> Refused {
    match error {
        StoreError::TooLarge { .. } => {
            Refused::metadata("the client metadata takes more room than one client has (7 KiB)")
        }
        error => error.into(),
    }
}

fn broken(error: &dyn std::error::Error) -> Failure {
    Failure::Broken { why: error.to_string() }
}
