//! `/admin/grants`: what was granted to whom, and its end by command.

use hyper::{Method, Request, StatusCode};
use tsidecar_oauth::grant::Grant;
use tsidecar_oauth::id::{DeviceId, GrantId};
use tsidecar_oauth::time::UnixTime;

use super::answer;
use super::error::AdminError;
use super::shape::{GrantAnswer, GrantsAnswer, RevokeAnswer};
use crate::audit;
use crate::store::Store;
use crate::web::response::Answer;

/// What all paths here begin with.
pub(super) const PATH: &str = "/admin/grants";

/// Grants read for an answer when nothing else is asked: a millisecond.
const PAGE: usize = 200;

/// Grants read for an answer at most.
const LARGEST_PAGE: usize = 1000;

/// Answers for `/admin/grants` followed by `rest`.
pub(super) async fn route<B>(
    store: &dyn Store,
    now: UnixTime,
    rest: &str,
    request: &Request<B>,
) -> Result<Answer, AdminError> {
    if rest.is_empty() {
        if request.method() != Method::GET {
            return Err(AdminError::Method("GET"));
        }
        let asked = Asked::of(request.uri().query().unwrap_or_default())?;
        return answer(StatusCode::OK, &list(store, &asked)?);
    }
    let id = rest.strip_prefix('/').and_then(|rest| rest.strip_suffix("/revoke"));
    let id = id.filter(|id| !id.is_empty() && !id.contains('/')).ok_or(AdminError::NoPath)?;
    if request.method() != Method::POST {
        return Err(AdminError::Method("POST"));
    }
    answer(StatusCode::OK, &revoke(store, now, id).await?)
}

/// Which grants, and which page.
#[derive(Debug, Default)]
struct Asked {
    user: Option<String>,
    client: Option<String>,
    device: Option<String>,
    after: Option<GrantId>,
    limit: Option<usize>,
}

impl Asked {
    /// Reads the query. An unknown name is an error: a filter that is not understood must not mean every grant.
    fn of(query: &str) -> Result<Self, AdminError> {
        let mut asked = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let wrong = |what: &str| AdminError::Invalid(format!("{name} must be {what}, not {value:?}"));
            let is_again = match &*name {
                "user" => asked.user.replace(value.into_owned()).is_some(),
                "client" => asked.client.replace(value.into_owned()).is_some(),
                "device" => asked.device.replace(value.into_owned()).is_some(),
                "after" => {
                    let id = GrantId::parse(&value).ok_or_else(|| wrong("the id of a grant"))?;
                    asked.after.replace(id).is_some()
                }
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit));
                    asked.limit.replace(limit.ok_or_else(|| wrong("a number from 1 to 1000"))?).is_some()
                }
                _ => {
                    let text = format!(
                        "there is no parameter {name:?}; allowed: user, client, device, after, limit"
                    );
                    return Err(AdminError::Invalid(text));
                }
            };
            if is_again {
                return Err(AdminError::Invalid(format!("{name} stands there twice")));
            }
        }
        Ok(asked)
    }

    fn wants(&self, grant: &Grant) -> bool {
        let fits = |asked: &Option<String>, is: &str| asked.as_deref().is_none_or(|asked| asked == is);
        let facts = grant.facts();
        fits(&self.user, facts.subject.as_str())
            && fits(&self.client, facts.client.as_str())
            && fits(&self.device, facts.device().map_or("", DeviceId::as_str))
    }
}

fn list(store: &dyn Store, asked: &Asked) -> Result<GrantsAnswer, AdminError> {
    let page = store.grants_after(asked.after, asked.limit.unwrap_or(PAGE))?;
    Ok(GrantsAnswer {
        grants: page.grants.iter().filter(|grant| asked.wants(grant)).map(GrantAnswer::from).collect(),
        unreadable: page.unreadable.iter().map(ToString::to_string).collect(),
        next: page.next.map(|id| id.to_string()),
    })
}

/// Ends a grant, on disk before the answer. Whoever wants to hear of the end is told by the same change.
async fn revoke(store: &dyn Store, now: UnixTime, id: &str) -> Result<RevokeAnswer, AdminError> {
    let unknown = || AdminError::NoGrant(id.to_owned());
    let grant = store.grant(GrantId::parse(id).ok_or_else(unknown)?)?.ok_or_else(unknown)?;
    let revoked = store.revoke_grant(grant.id(), now).await?;
    audit::grant_revoked(&grant, "administrator", revoked);
    Ok(RevokeAnswer { revoked })
}
