//! `/admin/consents`: what people have allowed strangers, and its end by command.

use bytes::Bytes;
use hyper::body::Body;
use hyper::{Method, Request, StatusCode};
use tsidecar_oauth::consent::Consent;
use tsidecar_oauth::id::{ClientId, Subject};
use tsidecar_oauth::time::UnixTime;

use super::error::AdminError;
use super::shape::{ConsentAnswer, ConsentKey, ConsentsAnswer, WithdrawAnswer};
use super::{answer, read_json};
use crate::consents;
use crate::store::Store;
use crate::web::response::Answer;

/// What all paths here begin with.
pub(super) const PATH: &str = "/admin/consents";

/// Consents read for an answer: a millisecond.
const PAGE: usize = 200;

/// Answers for `/admin/consents` followed by `rest`.
pub(super) async fn route<B>(
    store: &dyn Store,
    now: UnixTime,
    rest: &str,
    request: Request<B>,
) -> Result<Answer, AdminError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match (rest, request.method()) {
        ("", &Method::GET) => {
            let asked = Asked::of(request.uri().query().unwrap_or_default())?;
            answer(StatusCode::OK, &list(store, &asked)?)
        }
        ("", _) => Err(AdminError::Method("GET")),
        ("/revoke", &Method::POST) => {
            let key: ConsentKey = read_json(request).await?;
            answer(StatusCode::OK, &withdraw(store, now, &key).await?)
        }
        ("/revoke", _) => Err(AdminError::Method("POST")),
        _ => Err(AdminError::NoPath),
    }
}

/// Which consents, and which page.
#[derive(Debug, Default)]
struct Asked {
    user: Option<String>,
    client: Option<String>,
    after: Option<(Subject, ClientId)>,
}

impl Asked {
    /// Reads the query. An unknown name is an error: a filter that is not understood must not mean every consent.
    fn of(query: &str) -> Result<Self, AdminError> {
        let mut asked = Self::default();
        let (mut after_user, mut after_client) = (None, None);
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                "user" => &mut asked.user,
                "client" => &mut asked.client,
                "after_user" => &mut after_user,
                "after_client" => &mut after_client,
                _ => {
                    let text = format!(
                        "there is no parameter {name:?}; allowed: user, client, after_user, after_client"
                    );
                    return Err(AdminError::Invalid(text));
                }
            };
            if place.replace(value.into_owned()).is_some() {
                return Err(AdminError::Invalid(format!("{name} stands there twice")));
            }
        }
        asked.after = match (after_user, after_client) {
            (None, None) => None,
            (Some(user), Some(client)) => Some(key(&user, &client)?),
            (Some(_), None) | (None, Some(_)) => {
                let text = "after_user and after_client go together".to_owned();
                return Err(AdminError::Invalid(text));
            }
        };
        Ok(asked)
    }

    fn wants(&self, consent: &Consent) -> bool {
        let fits = |asked: &Option<String>, is: &str| asked.as_deref().is_none_or(|asked| asked == is);
        !consent.allowed.is_empty()
            && fits(&self.user, consent.subject.as_str())
            && fits(&self.client, consent.client.as_str())
    }
}

fn key(user: &str, client: &str) -> Result<(Subject, ClientId), AdminError> {
    let subject = Subject::parse(user);
    let subject = subject.map_err(|error| AdminError::Invalid(format!("user {user:?} {error}")))?;
    Ok((subject, ClientId::parse(client)?))
}

fn list(store: &dyn Store, asked: &Asked) -> Result<ConsentsAnswer, AdminError> {
    let after = asked.after.as_ref().map(|(subject, client)| (subject, client));
    let consents = store.consents_after(after, PAGE)?;
    let next = consents.last().filter(|_| consents.len() >= PAGE).map(ConsentKey::from);
    let consents = consents.iter().filter(|consent| asked.wants(consent));
    Ok(ConsentsAnswer { consents: consents.map(ConsentAnswer::from).collect(), next })
}

/// Takes one back, on disk before the answer. Whoever wants to hear of the end of a grant is told by the same change.
async fn withdraw(
    store: &dyn Store,
    now: UnixTime,
    asked: &ConsentKey,
) -> Result<WithdrawAnswer, AdminError> {
    let (subject, client) = key(&asked.subject, &asked.client_id)?;
    let done = consents::withdraw(store, &subject, &client, "administrator", now).await?;
    Ok(WithdrawAnswer { withdrawn: done.was_there, ended_grants: done.ended })
}
