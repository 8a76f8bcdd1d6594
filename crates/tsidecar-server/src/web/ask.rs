//! The page *Continue as NAME on DEVICE* (design section 5). It works without a script; its buttons take no pointer for the first
//! second, so that a click that was meant for something else does not count (attack A49).

use askama::Template;
use hyper::StatusCode;
use hyper::header::HeaderValue;

use super::page::{STYLE, page};
use super::response::Answer;

/// The style of this page alone, by its hash.
pub(super) const OWN_STYLE: &str = "'sha256-Wmsx8vH++Fvi/MpjIXS41q0HnYVu0H8QQrc23R2Pdb8='";

/// What the page says. All of it is text.
#[derive(Debug, Template)]
#[template(path = "ask.html")]
pub struct Ask<'a> {
    /// Where the form goes: a path of ours.
    pub action: &'a str,
    /// The name of the application.
    pub client: &'a str,
    /// Where the person goes afterwards.
    pub place: &'a str,
    /// Who they are.
    pub name: &'a str,
    /// Their login name; may be empty.
    pub login: &'a str,
    /// Their device.
    pub device: &'a str,
    /// Why they are asked.
    pub reason: &'a str,
    /// The sealed form.
    pub form: &'a str,
}

impl Ask<'_> {
    /// The page as an answer. `target` is where the answer of the form may lead, as a source of a policy: browsers apply
    /// `form-action` to redirects, too. `None` for a source that no policy can name, which none is.
    pub fn answer(&self, target: Option<&str>) -> Option<Answer> {
        let policy = format!(
            "default-src 'none'; style-src {STYLE} {OWN_STYLE}; form-action 'self'{}{}; base-uri 'none'; frame-ancestors 'none'",
            target.map_or("", |_| " "),
            target.unwrap_or_default()
        );
        let policy = HeaderValue::from_str(&policy).ok()?;
        Some(page(StatusCode::OK, self.render().ok()?, policy))
    }
}

#[cfg(test)]
mod tests {
    use base64ct::{Base64, Encoding};
    use hyper::header::CONTENT_SECURITY_POLICY;
    use sha2::{Digest, Sha256};

    use super::*;

    const PAGE: Ask<'_> = Ask {
        action: "/authorize/continue",
        client: "<script>",
        place: "app.test",
        name: "A \"B\"",
        login: "",
        device: "laptop",
        reason: "R.",
        form: "abc",
    };

    #[test]
    fn the_policy_allows_exactly_its_styles_and_where_it_leads() {
        let text = PAGE.render().unwrap();
        let answer = PAGE.answer(Some("https://app.test")).unwrap();
        let policy = answer.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
        let styles: Vec<_> =
            text.split("<style>").skip(1).map(|rest| rest.split_once("</style>").unwrap().0).collect();
        assert_eq!(styles.len(), 2);
        for style in styles {
            let hash = Base64::encode_string(&Sha256::digest(style.as_bytes()));
            assert!(policy.contains(&format!("'sha256-{hash}'")), "sha256-{hash}");
        }
        assert!(policy.contains("; form-action 'self' https://app.test;"), "{policy}");
        assert!(!policy.contains("script-src") && !policy.contains("unsafe"), "{policy}");
        let nowhere = PAGE.answer(None).unwrap();
        assert!(
            nowhere.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().contains("; form-action 'self';")
        );
        assert!(PAGE.answer(Some("a\nb")).is_none());
    }

    /// A11, A49: text only, no script, no autofocus, and buttons that take no pointer for a second.
    #[test]
    fn the_page_is_text_and_its_buttons_wait() {
        let text = PAGE.render().unwrap();
        assert!(
            !text.contains("<script") && !text.contains("autofocus") && text.contains("A &#34;B&#34;"),
            "{text}"
        );
        assert!(text.contains("pointer-events:none") && text.contains("1s step-end"));
        assert!(text.contains("id=\"continue\"") && text.contains("id=\"cancel\""));
        assert!(!text.contains("Account"));
    }
}
