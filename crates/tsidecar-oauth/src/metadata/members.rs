//! The members of a client's metadata, read by their types.

use serde_json::{Map, Value};
use url::Url;

use super::MetadataError;
use crate::uri::FetchUrl;

/// The longest text that is only echoed, in characters.
const LONGEST_TEXT: usize = 512;

/// The most texts of a list that is only echoed.
const MOST_TEXTS: usize = 10;

/// The members of a JSON object; those that are `null` or an empty text are absent: several SDKs write so what they were not told.
pub(super) struct Members(Map<String, Value>);

impl Members {
    pub(super) fn new(mut members: Map<String, Value>) -> Self {
        members.retain(|_, value| !value.is_null() && value.as_str() != Some(""));
        Self(members)
    }

    /// A text.
    pub(super) fn text(&self, name: &'static str) -> Result<Option<&str>, MetadataError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(MetadataError::Type { name, wanted: "a string" }),
        }
    }

    /// A list of texts.
    pub(super) fn texts(&self, name: &'static str) -> Result<Option<Vec<&str>>, MetadataError> {
        let wrong = MetadataError::Type { name, wanted: "an array of strings" };
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let Value::Array(listed) = value else { return Err(wrong) };
        let texts: Option<Vec<_>> = listed.iter().map(Value::as_str).collect();
        texts.map(Some).ok_or(wrong)
    }

    /// A flag; absent it is `false`.
    pub(super) fn flag(&self, name: &'static str) -> Result<bool, MetadataError> {
        match self.0.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(MetadataError::Type { name, wanted: "true or false" }),
        }
    }

    /// An object.
    pub(super) fn object(&self, name: &'static str) -> Result<Option<&Map<String, Value>>, MetadataError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(object)),
            Some(_) => Err(MetadataError::Type { name, wanted: "a JSON object" }),
        }
    }

    /// What is echoed and has no effect. Of the wrong form it is left out, as the specification allows (RFC 7591 §3.2.1).
    pub(super) fn informative(&self) -> Result<Map<String, Value>, MetadataError> {
        let mut informative = Map::new();
        for (name, value) in &self.0 {
            let is_good = match name.as_str() {
                "client_uri" | "logo_uri" | "policy_uri" | "tos_uri" => is_page(value),
                "software_id" | "software_version" | "scope" => is_short(value),
                "application_type" => matches!(value.as_str(), Some("web" | "native")),
                "subject_type" => true,
                "contacts" => value.as_array().is_some_and(|contacts| {
                    (1..=MOST_TEXTS).contains(&contacts.len()) && contacts.iter().all(is_short)
                }),
                // Every ID token says when its person signed in.
                "require_auth_time" => value.is_boolean(),
                "initiate_login_uri" => self.is_fetchable("initiate_login_uri")?,
                _ => false,
            };
            if is_good {
                informative.insert(name.clone(), value.clone());
            }
        }
        Ok(informative)
    }

    fn is_fetchable(&self, name: &'static str) -> Result<bool, MetadataError> {
        let Some(uri) = self.text(name)? else { return Ok(false) };
        FetchUrl::parse(uri).map(|_| true).map_err(|reason| MetadataError::Url { name, reason })
    }
}

fn is_short(value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|text| text.chars().count() <= LONGEST_TEXT && !text.chars().any(char::is_control))
}

/// The address of a web page or an image, which is shown to people, never fetched.
fn is_page(value: &Value) -> bool {
    let Some(text) = value.as_str().filter(|_| is_short(value)) else { return false };
    Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "https" | "http") && url.username().is_empty())
}
