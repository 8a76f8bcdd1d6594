//! What is told of grants and consents.

use serde::{Deserialize, Serialize};
use tsidecar_oauth::consent::Consent;
use tsidecar_oauth::grant::{Grant, Holder};
use tsidecar_oauth::time::UnixTime;

/// A grant as it is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GrantAnswer {
    /// The id, as in the audit log.
    pub id: String,
    /// The client to which it was granted.
    pub client_id: String,
    /// `sub` of the person who granted it, or the client or tag that asked for itself.
    pub subject: String,
    /// Whose it is.
    pub holder: HolderName,
    /// The stable identifier of the device on which the person was, or of the tagged node; empty when a client asked for itself.
    pub device: String,
    /// The granted scope.
    pub scope: String,
    /// The granted resources.
    pub resources: Vec<String>,
    /// When its code was issued.
    pub issued_at: UnixTime,
    /// The last redemption or refresh.
    pub last_used: UnixTime,
    /// When it ends if nothing happens to it.
    pub ends_at: UnixTime,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// Whose a grant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HolderName {
    /// A person's.
    Person,
    /// A tagged node's.
    Workload,
    /// The client's own.
    Client,
}

impl From<&Holder> for HolderName {
    fn from(holder: &Holder) -> Self {
        match holder {
            Holder::Person(_) => Self::Person,
            Holder::Workload(_) => Self::Workload,
            Holder::Client => Self::Client,
        }
    }
}

impl From<&Grant> for GrantAnswer {
    fn from(grant: &Grant) -> Self {
        let facts = grant.facts();
        Self {
            id: grant.id().to_string(),
            client_id: facts.client.as_str().to_owned(),
            subject: facts.subject.as_str().to_owned(),
            holder: (&facts.holder).into(),
            device: facts.device().map_or_else(String::new, |device| device.as_str().to_owned()),
            scope: facts.scope.to_string(),
            resources: facts.resources.iter().map(ToString::to_string).collect(),
            issued_at: facts.issued_at,
            last_used: grant.state().last_used,
            ends_at: grant.ends_at(),
            revoked: grant.is_revoked(),
        }
    }
}

/// The answer to `GET /admin/grants`: those grants of one page of the store that were asked for, perhaps none.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct GrantsAnswer {
    /// The grants, in the order of their ids.
    pub grants: Vec<GrantAnswer>,
    /// The ids of damaged records: nobody can tell whose grants they are, and they cannot be used.
    pub unreadable: Vec<String>,
    /// `after` of the next page; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The answer to `POST /admin/grants/{id}/revoke`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RevokeAnswer {
    /// Whether it was not revoked until now.
    pub revoked: bool,
}

/// What a person has allowed a client, as it is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConsentAnswer {
    /// `sub` of the person.
    pub subject: String,
    /// The client.
    pub client_id: String,
    /// What was allowed, oldest first.
    pub allowed: Vec<AllowedAnswer>,
    /// When it was given or used last, to a day.
    pub used_at: UnixTime,
}

/// One thing that was allowed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AllowedAnswer {
    /// The host to return to, the scheme of an application, or `device code`.
    pub redirect_host: String,
    /// The stable identifier of the device, where it returns to a program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The resources.
    pub resources: Vec<String>,
    /// The scope.
    pub scope: String,
    /// When.
    pub at: UnixTime,
}

impl From<&Consent> for ConsentAnswer {
    fn from(consent: &Consent) -> Self {
        let allowed = consent.allowed.iter().map(|allowed| AllowedAnswer {
            redirect_host: allowed.redirect_host.clone(),
            device: allowed.device.as_ref().map(|device| device.as_str().to_owned()),
            resources: allowed.resources.iter().map(ToString::to_string).collect(),
            scope: allowed.scope.to_string(),
            at: allowed.at,
        });
        Self {
            subject: consent.subject.as_str().to_owned(),
            client_id: consent.client.as_str().to_owned(),
            allowed: allowed.collect(),
            used_at: consent.used_at,
        }
    }
}

/// Whose consent, and to whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentKey {
    /// `sub` of the person.
    pub subject: String,
    /// The client.
    pub client_id: String,
}

impl From<&Consent> for ConsentKey {
    fn from(consent: &Consent) -> Self {
        Self { subject: consent.subject.as_str().to_owned(), client_id: consent.client.as_str().to_owned() }
    }
}

/// The answer to `GET /admin/consents`: those of one page of the store that were asked for, perhaps none.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ConsentsAnswer {
    /// The consents; those of one person stand together.
    pub consents: Vec<ConsentAnswer>,
    /// `after_user` and `after_client` of the next page; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<ConsentKey>,
}

/// The answer to `POST /admin/consents/revoke`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct WithdrawAnswer {
    /// Whether anything was allowed until now.
    pub withdrawn: bool,
    /// Grants that were live until now.
    pub ended_grants: usize,
}
