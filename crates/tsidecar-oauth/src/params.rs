//! Decoded parameters of a query or a form body: no duplicates, empty means absent.
//!
//! Layer 0. Everything in here is the caller's claim; nothing is trusted.

use std::borrow::Cow;

use zeroize::Zeroize;

/// More parameters than any request of the family has; a bound before anything is parsed further.
const MOST_PARAMETERS: usize = 64;

/// The only parameter that may be repeated (RFC 8707 §2).
const REPEATABLE: &str = "resource";

/// Why a query or body is not a list of parameters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamsError {
    /// A parameter stands twice (RFC 6749 §3.1, §3.2).
    #[error("the parameter {0:?} is repeated")]
    Repeated(String),
    /// More than 64 parameters.
    #[error("too many parameters")]
    TooMany,
    /// A value is not UTF-8 after decoding, or has a NUL.
    #[error("a parameter is not valid text")]
    NotText,
}

/// Decoded `application/x-www-form-urlencoded` parameters, each name once (`resource` may repeat).
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Decodes a query or a form body.
    ///
    /// # Errors
    /// [`ParamsError`] when a name repeats, when there are more than 64, or when a value is not text.
    pub fn parse(input: &[u8]) -> Result<Self, ParamsError> {
        let mut params: Vec<(String, String)> = Vec::new();
        for (name, value) in input.split(|b| *b == b'&').filter(|p| !p.is_empty()).map(split_pair) {
            if params.len() == MOST_PARAMETERS {
                return Err(ParamsError::TooMany);
            }
            let (name, value) = (decode(name)?, decode(value)?);
            if name != REPEATABLE && params.iter().any(|(known, _)| *known == name) {
                return Err(ParamsError::Repeated(printable(&name)));
            }
            params.push((name, value));
        }
        Ok(Self(params))
    }

    /// Takes parameters that came in another form, such as the claims of a request object.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn from_pairs(pairs: Vec<(String, String)>) -> Result<Self, ParamsError> {
        let params = Self(pairs);
        if params.0.len() > MOST_PARAMETERS {
            return Err(ParamsError::TooMany);
        }
        for (at, (name, value)) in params.0.iter().enumerate() {
            if name.contains('\0') || value.contains('\0') {
                return Err(ParamsError::NotText);
            }
            if name != REPEATABLE && params.0.iter().take(at).any(|(known, _)| known == name) {
                return Err(ParamsError::Repeated(printable(name)));
            }
        }
        Ok(params)
    }

    /// The value of a parameter; an empty one counts as absent (RFC 6749 §3.1).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, value)| known == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// All values of a parameter that may repeat, in the order of the request, empty ones left out.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(known, value)| known == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// Every parameter with its value, in the order of the request.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Takes some parameters away.
    #[must_use]
    pub fn without(mut self, names: &[&str]) -> Self {
        for (_, value) in self.0.iter_mut().filter(|(name, _)| names.contains(&name.as_str())) {
            value.zeroize();
        }
        self.0.retain(|(name, _)| !names.contains(&name.as_str()));
        self
    }

    /// Adds a parameter, in place of what stood under its name.
    #[must_use]
    pub fn with(self, name: &str, value: &str) -> Self {
        let mut params = self.without(&[name]);
        params.0.push((name.to_owned(), value.to_owned()));
        params
    }

    /// Tells whether any of these names is present, even with an empty value.
    pub fn names_any(&self, names: &[&str]) -> bool {
        self.0.iter().any(|(known, _)| names.contains(&known.as_str()))
    }
}

/// Parameters may hold codes, tokens and secrets.
impl Drop for Params {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(|(_, value)| value.zeroize());
    }
}

fn split_pair(pair: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = pair.splitn(2, |b| *b == b'=');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// Decodes `%XX` and `+`; a stray `%` stands for itself, as the URL standard has it.
fn decode(input: &[u8]) -> Result<String, ParamsError> {
    let mut bytes = Vec::with_capacity(input.len());
    let mut rest = input;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match (first, after) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, tail @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                bytes.push(hex(*high) << 4 | hex(*low));
                rest = tail;
            }
            _ => bytes.push(first),
        }
    }
    if bytes.contains(&0) {
        return Err(ParamsError::NotText);
    }
    String::from_utf8(bytes).map_err(|_| ParamsError::NotText)
}

const fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}

/// A parameter name fit for an error description (RFC 6749 §5.2 allows printable ASCII without quote and backslash).
fn printable(name: &str) -> String {
    name.chars()
        .take(40)
        .map(|c| if c.is_ascii_alphanumeric() || "_-.".contains(c) { c } else { '?' })
        .collect()
}

/// Decodes one form-encoded value, as RFC 6749 §2.3.1 has it for HTTP Basic; `None` when it is not text.
pub fn decode_value(input: &str) -> Option<Cow<'_, str>> {
    if input.bytes().any(|b| b == b'%' || b == b'+') {
        decode(input.as_bytes()).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(input))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_empty_is_absent() {
        let params = Params::parse(b"a=1+2%2B&b=&c&scope=openid%20email&%C3%A4=x").unwrap();
        assert_eq!(params.get("a"), Some("1 2+"));
        assert_eq!(params.get("b"), None);
        assert_eq!(params.get("c"), None);
        assert!(params.names_any(&["c"]));
        assert_eq!(params.get("scope"), Some("openid email"));
        assert_eq!(params.get("ä"), Some("x"));
    }

    #[test]
    fn only_resource_may_repeat() {
        let error = Params::parse(b"state=a&state=b").err();
        assert_eq!(error, Some(ParamsError::Repeated("state".to_owned())));
        assert_eq!(Params::parse(b"state=&state=b").err(), Some(ParamsError::Repeated("state".to_owned())));
        let params = Params::parse(b"resource=x&resource=y").unwrap();
        assert_eq!(params.all("resource").collect::<Vec<_>>(), ["x", "y"]);
    }

    #[test]
    fn some_can_be_taken_away() {
        let params = Params::parse(b"a=1&client_secret=x&b=2").unwrap().without(&["client_secret", "c"]);
        assert_eq!(params.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
        assert_eq!(params.with("a", "3").iter().collect::<Vec<_>>(), [("b", "2"), ("a", "3")]);
    }

    #[test]
    fn bombs_and_binary_are_refused() {
        assert_eq!(
            Params::parse("a&".repeat(10_000).as_bytes()).err(),
            Some(ParamsError::Repeated("a".to_owned()))
        );
        let many = (0..65).map(|i| format!("p{i}=1")).collect::<Vec<_>>().join("&");
        assert_eq!(Params::parse(many.as_bytes()).err(), Some(ParamsError::TooMany));
        assert_eq!(Params::parse(b"a=%ff").err(), Some(ParamsError::NotText));
        assert_eq!(Params::parse(b"a=x%00").err(), Some(ParamsError::NotText));
        assert_eq!(Params::parse(b"a=100%&b=%4").unwrap().get("a"), Some("100%"));
    }
}
