//! Documents of clients, and the URLs that are their ids: never a panic, an id has one spelling and leads to its own host, and what a
//! document makes of a client has no secret, nothing that a browser would run, and the id of its URL.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tsidecar_oauth::cimd::{IdUrl, LONGEST_DOCUMENT, judge};
use tsidecar_oauth::client::AuthMethod;
use tsidecar_oauth::time::UnixTime;

const URL: &str = "https://app.test/c";

fuzz_target!(|data: (&str, &str, bool)| {
    let (id, document, ready_made) = data;
    if let Ok(url) = IdUrl::parse(id) {
        assert!(id.starts_with("https://") && !id.contains('#'));
        let (host, target) = (url.url().host(), url.url().target());
        let port = id["https://".len()..].strip_prefix(host).and_then(|rest| rest.strip_suffix(target));
        assert!(port.is_some_and(|port| port.is_empty() || (port.starts_with(':') && port != ":443")));
        let path = target.split('?').next().unwrap_or_default();
        assert!(path.len() > 1 && !path.contains("//") && !path.contains("/../") && !path.contains("/./"));
    }
    let url = IdUrl::parse(URL).expect("an id");
    // Most texts are no object; the members of one are tried in a document that is good without them.
    let whole = format!(
        r#"{{"client_id":"{URL}","client_name":"A","redirect_uris":["http://127.0.0.1/cb"]{}{document}}}"#,
        if document.is_empty() { "" } else { "," }
    );
    let text = if ready_made { &whole } else { document };
    let Ok(client) = judge(&url, text.as_bytes(), UnixTime::default()) else { return };
    assert!(text.len() <= LONGEST_DOCUMENT && client.id().as_str() == URL && client.backchannel().is_none());
    assert!(!client.accepts(AuthMethod::ClientSecretBasic) && !client.accepts(AuthMethod::ClientSecretPost));
    for uri in client.redirect_uris() {
        let scheme = uri.as_str().split(':').next().unwrap_or_default().to_ascii_lowercase();
        assert!(
            !["javascript", "data", "file", "blob", "vbscript", "about", "intent"].contains(&scheme.as_str())
        );
        assert!(!uri.is_plain_http());
    }
});
