//! `claims`: single claims that a request names (OpenID Connect Core §5.5).

use serde_json::{Map, Value};

use crate::jose::json_object;
use crate::requested::{ClaimSet, RequestedClaims};

/// The longest `claims`, in bytes.
const LONGEST: usize = 8 * 1024;

/// What a `claims` parameter asks for. That a claim is *essential* changes nothing: what we have we give, and what we do not
/// have is never an error (§5.5.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClaimsRequest {
    /// Claims that we have.
    pub requested: RequestedClaims,
    /// Who it must be (`sub` with `value` or `values`); `None` is anybody.
    pub subjects: Option<Vec<String>>,
    /// Values of `acr` in the ID token.
    pub acr: Vec<String>,
}

impl ClaimsRequest {
    /// Reads the parameter: one JSON object without repeated members, whose `userinfo` and `id_token` are objects of claims,
    /// each `null` or an object. Everything else in it is ignored, as §5.5 wants. `None` when it is not of that form.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let members = json_object(text.as_bytes()).ok()?;
        let mut request = Self::default();
        request.requested.id_token = request.read(members.get("id_token"), true)?;
        request.requested.userinfo = request.read(members.get("userinfo"), false)?;
        Some(request)
    }

    fn read(&mut self, place: Option<&Value>, id_token: bool) -> Option<ClaimSet> {
        let claims = match place {
            None => return Some(ClaimSet::default()),
            Some(Value::Object(claims)) => claims,
            Some(_) => return None,
        };
        let mut set = ClaimSet::default();
        for (name, wish) in claims {
            let wish = match wish {
                Value::Null => None,
                Value::Object(members) => Some(members),
                _ => return None,
            };
            set = set.with(name);
            let Some(values) = wish.and_then(values) else { continue };
            match name.as_str() {
                "sub" => self.narrow(values),
                "acr" if id_token => self.acr = values,
                _ => (),
            }
        }
        Some(set)
    }

    /// Both places may name the person; then it must be one of both.
    fn narrow(&mut self, values: Vec<String>) {
        self.subjects = match self.subjects.take() {
            Some(before) => Some(before.into_iter().filter(|subject| values.contains(subject)).collect()),
            None => Some(values),
        };
    }
}

/// The values that a wish names: `value`, or `values`. What is no text never equals one of ours.
fn values(wish: &Map<String, Value>) -> Option<Vec<String>> {
    let texts = |values: &[Value]| values.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    match (wish.get("value"), wish.get("values")) {
        (Some(value), _) => Some(texts(std::slice::from_ref(value))),
        (None, Some(Value::Array(values))) => Some(texts(values)),
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<ClaimsRequest> {
        ClaimsRequest::parse(text)
    }

    #[test]
    fn what_we_have_is_remembered_for_its_place() {
        let request = parse(
            r#"{"userinfo":{"given_name":{"essential":true},"name":{"essential":true},"email":null,"http://x/y":{"a":1}},
                "id_token":{"auth_time":{"essential":true},"acr":{"values":["a","b"]},"groups":null},"other":[1]}"#,
        )
        .unwrap();
        assert_eq!(request.requested.userinfo, ClaimSet::default().with("name").with("email"));
        assert_eq!(request.requested.id_token, ClaimSet::default().with("acr").with("groups"));
        assert_eq!((request.subjects, request.acr), (None, vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(parse("{}"), Some(ClaimsRequest::default()));
    }

    #[test]
    fn a_person_may_be_named() {
        let subjects = |text: &str| parse(text).unwrap().subjects;
        assert_eq!(subjects(r#"{"id_token":{"sub":null}}"#), None);
        assert_eq!(subjects(r#"{"id_token":{"sub":{"value":"userid:1"}}}"#), Some(vec!["userid:1".into()]));
        assert_eq!(
            subjects(r#"{"userinfo":{"sub":{"values":["a","b"]}}}"#),
            Some(vec!["a".into(), "b".into()])
        );
        let both = r#"{"userinfo":{"sub":{"values":["a","b"]}},"id_token":{"sub":{"value":"b"}}}"#;
        assert_eq!(subjects(both), Some(vec!["b".into()]));
        assert_eq!(subjects(r#"{"id_token":{"sub":{"value":5}}}"#), Some(Vec::new()));
    }

    #[test]
    fn anything_else_is_refused() {
        let deep = format!("{{\"id_token\":{}{}}}", "{\"a\":".repeat(200), "}".repeat(200));
        let long = format!("{{\"x\":\"{}\"}}", "y".repeat(9_000));
        for bad in [
            "",
            "[]",
            "null",
            "{",
            "{}x",
            "name",
            r#"{"userinfo":null}"#,
            r#"{"userinfo":[]}"#,
            r#"{"userinfo":{"name":true}}"#,
            r#"{"userinfo":{"name":null,"name":null}}"#,
            &deep,
            &long,
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
