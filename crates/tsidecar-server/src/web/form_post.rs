//! The page that posts an authorization response to its client (OAuth 2.0 Form Post Response Mode): by one script, or by a button
//! where scripts are off.

use askama::Template;
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use tsidecar_oauth::authorize::AuthorizationResponse;

use super::page::STYLE;
use super::response::{Answer, bytes};

/// The only script that any page of ours has, by its hash.
const SCRIPT: &str = "'sha256-ePniVEkSivX/c7XWBGafqh8tSpiRrKiqYeqbG7N1TOE='";

#[derive(Template)]
#[template(path = "form_post.html")]
struct Page<'a> {
    action: &'a str,
    fields: &'a [(&'static str, String)],
}

/// The response as a page. `None` for a target that no policy can name, which none is.
pub fn answer(response: &AuthorizationResponse<'_>) -> Option<Answer> {
    let target = response.target();
    let policy = format!(
        "default-src 'none'; style-src {STYLE}; script-src {SCRIPT}; form-action {}; base-uri 'none'; frame-ancestors 'none'",
        target.policy_source()?
    );
    let page = Page { action: target.redirect_uri(), fields: response.fields() };
    let mut answer = bytes(StatusCode::OK, "text/html; charset=utf-8", page.render().ok()?);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_str(&policy).ok()?);
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    // Not `same-origin`, as on other pages: the post would come with `Origin: null`, which applications refuse. Our origin is no
    // secret; it stands in `iss`.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("strict-origin"));
    Some(answer)
}

#[cfg(test)]
mod tests {
    use base64ct::{Base64, Encoding};
    use http_body_util::BodyExt;
    use sha2::{Digest, Sha256};
    use tsidecar_oauth::authorize::{RedirectReason, RedirectTarget};
    use tsidecar_oauth::client::{Client, ClientSpec};
    use tsidecar_oauth::params::Params;
    use tsidecar_oauth::time::UnixTime;
    use tsidecar_oauth::uri::Issuer;

    use super::*;

    fn target(uri: &str, state: &str) -> RedirectTarget {
        let spec = ClientSpec {
            id: "app".into(),
            name: "App".into(),
            public: true,
            redirect_uris: vec![uri.into()],
            ..ClientSpec::default()
        };
        let client = Client::new(spec, UnixTime::default()).unwrap();
        let pairs = [("redirect_uri", uri), ("response_mode", "form_post"), ("state", state)];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let params = Params::from_pairs(pairs.to_vec()).unwrap();
        RedirectTarget::prove(&params, Some(&client), &Issuer::parse("https://idp.tail.test").unwrap())
            .unwrap()
    }

    async fn page(uri: &str, state: &str) -> (String, String) {
        let target = target(uri, state);
        let answer = answer(&target.with_error(RedirectReason::MaxAge)).unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let policy = answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (policy, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_policy_allows_exactly_the_style_and_the_script_of_the_page() {
        let (policy, page) = page("https://app.test/cb", "s").await;
        let hash = |tag: &str| {
            let rest = page.split_once(&format!("<{tag}>")).unwrap().1;
            let text = rest.split_once(&format!("</{tag}>")).unwrap().0;
            format!("'sha256-{}'", Base64::encode_string(&Sha256::digest(text.as_bytes())))
        };
        assert_eq!(
            policy,
            format!(
                "default-src 'none'; style-src {}; script-src {}; form-action https://app.test; base-uri 'none'; frame-ancestors 'none'",
                hash("style"),
                hash("script")
            )
        );
        assert_eq!(page.matches("<script").count(), 1);
    }

    /// A11: whatever an application sent is text.
    #[tokio::test]
    async fn what_travels_through_is_escaped() {
        let (_, page) = page("https://app.test/cb?a=1&b='", r#""><script>alert(1)</script>&"#).await;
        assert_eq!(page.matches("<script").count(), 1, "{page}");
        assert!(
            page.contains(
                "name=\"state\" value=\"&#34;&#62;&#60;script&#62;alert(1)&#60;/script&#62;&#38;\""
            ),
            "{page}"
        );
        assert!(page.contains("action=\"https://app.test/cb?a=1&#38;b=&#39;\""), "{page}");
        assert_eq!(page.matches("name=\"iss\"").count(), 1);
    }

    /// Nothing of a redirect URI gets into the header but its origin, and that only where it can be said.
    #[tokio::test]
    async fn only_the_origin_of_the_target_may_be_posted_to() {
        for (uri, source) in [
            ("https://app.test:8443/cb?x=1", "https://app.test:8443"),
            ("http://127.0.0.1:5000/cb", "http://127.0.0.1:5000"),
            ("http://[::1]:5000/cb", "http:"),
            ("https://a;b,c.test/cb", "https:"),
        ] {
            let (policy, _) = page(uri, "s").await;
            assert!(policy.contains(&format!("; form-action {source}; ")), "{policy}");
        }
    }
}
