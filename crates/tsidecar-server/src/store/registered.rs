//! Clients that registered themselves (RFC 7591), what administrators approved, and documents that were taken away.
//!
//! None of them is in the snapshot: there may be many, and most are used by one person. A registration is kept until it has not
//! been used for as long as its record says; an approval and a withdrawal are kept longer than anything that rests on them.

use serde::{Deserialize, Serialize};
use tsidecar_oauth::assurance::MetadataDigest;
use tsidecar_oauth::client::ClientSpec;
use tsidecar_oauth::id::{ClientId, DeviceId, Subject};
use tsidecar_oauth::provenance::{Registrant, Registrar, Registration};
use tsidecar_oauth::secret::SecretDigest;
use tsidecar_oauth::time::{Lifetime, UnixTime};

use super::ledger::{self, ChangeError, Entry, Ledger, Records, Table};
use super::record::{self, DecodeError, SpecV1, spec_of};
use super::{Approval, RegisteredClient, StoreError};

/// How long the end of a document, or of an approval, is remembered: longer than anything that was issued to its client lives.
const GONE_FOR: Lifetime = Lifetime::from_days(400);

/// Approvals stay until they are withdrawn; the number is a date in the year 2106.
const FOR_GOOD: UnixTime = UnixTime::from_secs(u32::MAX as u64);

#[derive(Serialize, Deserialize)]
struct RegisteredV1<'a> {
    #[serde(borrow)]
    spec: SpecV1<'a>,
    by: RegistrarV1,
    at: UnixTime,
    token: [u8; 32],
    used_at: UnixTime,
    keep_for: Lifetime,
    metadata: String,
}

#[derive(Serialize, Deserialize)]
enum RegistrarV1 {
    Application { subject: Subject, login: String, device: DeviceId, device_name: String },
    Workload { node: String },
    Page,
    Outside,
}

impl From<&Registrar> for RegistrarV1 {
    fn from(by: &Registrar) -> Self {
        match by {
            Registrar::Application(who) => Self::Application {
                subject: who.subject.clone(),
                login: who.login.clone(),
                device: who.device.clone(),
                device_name: who.device_name.clone(),
            },
            Registrar::Workload { node } => Self::Workload { node: node.clone() },
            Registrar::Page => Self::Page,
            Registrar::Outside => Self::Outside,
        }
    }
}

impl From<RegistrarV1> for Registrar {
    fn from(by: RegistrarV1) -> Self {
        match by {
            RegistrarV1::Application { subject, login, device, device_name } => {
                Self::Application(Registrant { subject, login, device, device_name })
            }
            RegistrarV1::Workload { node } => Self::Workload { node },
            RegistrarV1::Page => Self::Page,
            RegistrarV1::Outside => Self::Outside,
        }
    }
}

fn decode(id: &ClientId, bytes: &[u8]) -> Result<(UnixTime, RegisteredClient), DecodeError> {
    let (until, v1) = record::decode_kept_borrowed::<RegisteredV1<'_>>(bytes)?;
    let client = RegisteredClient {
        id: id.clone(),
        spec: spec_of(id, v1.spec)?,
        registration: Registration { by: v1.by.into(), at: v1.at },
        token: SecretDigest::from_bytes(v1.token),
        used_at: v1.used_at,
        keep_for: v1.keep_for,
        metadata: v1.metadata,
    };
    Ok((until, client))
}

/// Reads one; `None` also when its time is over.
pub(super) fn read(
    records: &dyn Records,
    id: &ClientId,
    now: UnixTime,
) -> Result<Option<RegisteredClient>, StoreError> {
    let bytes = records.read(Table::Registered, id.as_str().as_bytes()).map_err(StoreError::Io)?;
    let Some(bytes) = bytes else { return Ok(None) };
    let (until, client) = decode(id, &bytes).map_err(|reason| ledger::corrupt(Table::Registered, reason))?;
    Ok((!until.is_past(now)).then_some(client))
}

/// A page of them, in the order of their ids; the key to go on from.
pub(super) fn page(entries: &[Entry]) -> Result<Vec<RegisteredClient>, StoreError> {
    let client = |(key, value): &Entry| {
        let id = std::str::from_utf8(key).ok().and_then(|id| ClientId::parse(id).ok());
        decode(&id.ok_or(DecodeError::Key)?, value).map(|(_, client)| client)
    };
    let clients: Result<_, DecodeError> = entries.iter().map(client).collect();
    clients.map_err(|reason| ledger::corrupt(Table::Registered, reason))
}

/// Writes one, new or changed.
pub(super) fn put(ledger: &mut Ledger, client: &RegisteredClient) -> Result<(), ChangeError> {
    let content = RegisteredV1 {
        spec: SpecV1::of(&client.spec),
        by: (&client.registration.by).into(),
        at: client.registration.at,
        token: *client.token.as_bytes(),
        used_at: client.used_at,
        keep_for: client.keep_for,
        metadata: client.metadata.clone(),
    };
    let until = client.used_at.after(client.keep_for);
    ledger.keep(Table::Registered, client.id.as_str().as_bytes(), until, &content)
}

/// Writes one in place of what is there; `false` when there is none any more.
pub(super) fn replace(
    ledger: &mut Ledger,
    client: RegisteredClient,
    now: UnixTime,
) -> Result<bool, ChangeError> {
    let Some(RegisteredClient { used_at, keep_for, .. }) = read(ledger.records(), &client.id, now)? else {
        return Ok(false);
    };
    put(ledger, &RegisteredClient { used_at, keep_for, ..client })?;
    Ok(true)
}

/// Takes note that one was used; `false` when there is none any more.
pub(super) fn touch(
    ledger: &mut Ledger,
    id: &ClientId,
    keep_for: Lifetime,
    now: UnixTime,
) -> Result<bool, ChangeError> {
    let Some(client) = read(ledger.records(), id, now)? else { return Ok(false) };
    put(ledger, &RegisteredClient { used_at: now.max(client.used_at), keep_for, ..client })?;
    Ok(true)
}

/// Removes one; `true` when there was one.
pub(super) fn remove(ledger: &mut Ledger, id: &ClientId, now: UnixTime) -> Result<bool, ChangeError> {
    if read(ledger.records(), id, now)?.is_none() {
        return Ok(false);
    }
    ledger.drop_kept(Table::Registered, id.as_str().as_bytes())?;
    Ok(true)
}

/// What an administrator decided about a client.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct ApprovalV1 {
    /// What is approved, and since when.
    approved: Option<(MetadataDigest, UnixTime)>,
    /// When an approval was taken back last; 1970 if never. It is kept beside the next one: codes from before stay void.
    ended: UnixTime,
}

fn decided(records: &dyn Records, id: &ClientId) -> Result<ApprovalV1, StoreError> {
    let kept: Option<(UnixTime, ApprovalV1)> =
        ledger::read_kept(records, Table::Approvals, id.as_str().as_bytes())?;
    Ok(kept.map_or_else(ApprovalV1::default, |(_, decided)| decided))
}

/// Reads what is approved of a client.
pub(super) fn approval(records: &dyn Records, id: &ClientId) -> Result<Option<Approval>, StoreError> {
    Ok(decided(records, id)?.approved.map(|(digest, at)| Approval { digest, at }))
}

/// When an approval of a client was taken back last; 1970 if never.
pub(super) fn disapproved_at(records: &dyn Records, id: &ClientId) -> Result<UnixTime, StoreError> {
    Ok(decided(records, id)?.ended)
}

/// Writes an approval.
pub(super) fn approve(ledger: &mut Ledger, id: &ClientId, approval: Approval) -> Result<(), ChangeError> {
    let ended = decided(ledger.records(), id)?.ended;
    let content = ApprovalV1 { approved: Some((approval.digest, approval.at)), ended };
    ledger.keep(Table::Approvals, id.as_str().as_bytes(), FOR_GOOD, &content)
}

/// Takes an approval back; `true` when there was one. That it was is remembered for longer than anything lives that rests on it.
pub(super) fn disapprove(ledger: &mut Ledger, id: &ClientId, now: UnixTime) -> Result<bool, ChangeError> {
    let before = decided(ledger.records(), id)?;
    if before.approved.is_none() {
        return Ok(false);
    }
    let content = ApprovalV1 { approved: None, ended: now.max(before.ended) };
    ledger.keep(Table::Approvals, id.as_str().as_bytes(), now.after(GONE_FOR), &content)?;
    Ok(true)
}

/// When the document of a client was taken away last: everything issued until then is void.
pub(super) fn document_gone(records: &dyn Records, id: &ClientId) -> Result<UnixTime, StoreError> {
    let kept: Option<(UnixTime, UnixTime)> =
        ledger::read_kept(records, Table::Documents, id.as_str().as_bytes())?;
    Ok(kept.map_or(UnixTime::default(), |(_, at)| at))
}

/// Remembers that the document of a client was taken away.
pub(super) fn end_document(ledger: &mut Ledger, id: &ClientId, now: UnixTime) -> Result<(), ChangeError> {
    ledger.keep(Table::Documents, id.as_str().as_bytes(), now.after(GONE_FOR), &now)
}

/// Tells whether a record that can be read says the same once it is written again.
pub(super) fn survives(bytes: &[u8]) -> bool {
    let Ok(id) = ClientId::parse("fuzz") else { return true };
    let Ok((until, client)) = decode(&id, bytes) else { return true };
    let content = RegisteredV1 {
        spec: SpecV1::of(&client.spec),
        by: (&client.registration.by).into(),
        at: client.registration.at,
        token: *client.token.as_bytes(),
        used_at: client.used_at,
        keep_for: client.keep_for,
        metadata: client.metadata.clone(),
    };
    // Too large to have been written.
    let Ok(again) = record::encode_kept(until, &content) else { return true };
    let shown = format!("{client:?}");
    decode(&id, &again).is_ok_and(|(_, again)| format!("{again:?}") == shown)
}

impl RegisteredClient {
    /// The description, for whoever makes a [`Client`](tsidecar_oauth::client::Client) of it.
    pub const fn spec(&self) -> &ClientSpec {
        &self.spec
    }
}
