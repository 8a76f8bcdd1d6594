//! How the answer travels back to the client (OAuth 2.0 Multiple Response Type Encoding §2.1, OAuth 2.0 Form Post Response Mode).

/// A response mode that we serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseMode {
    /// In the query of the redirect URI: the default of `code`.
    #[default]
    Query,
    /// In the body of a form that the browser posts to the redirect URI.
    FormPost,
}

impl ResponseMode {
    /// Every mode that we serve, in the order of the metadata.
    pub const ALL: [Self; 2] = [Self::Query, Self::FormPost];

    /// The value of `response_mode`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::FormPost => "form_post",
        }
    }

    /// Reads `response_mode`; `None` for a mode that we do not serve.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text)
    }
}
