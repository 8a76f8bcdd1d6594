//! The sample application of the demonstration: a page with one link, and a page that shows who signed in.

use std::{
    convert::Infallible,
    fmt::Write as _,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, LOCATION},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinSet};

use super::{
    http::{escape, member, query},
    login::{Login, LoginError, Party},
};

/// A tiny web application that signs people in at one issuer.
pub struct RelyingParty {
    party: Party,
    /// Logins under way, newest last. A real application keeps each in the browser's own session.
    pending: Mutex<Vec<Login>>,
}

/// Logins that may be under way at once; the oldest is forgotten.
const MOST_PENDING: usize = 64;

impl RelyingParty {
    /// Answers on a listener of the loopback interface until the task is dropped. `party` needs the redirect URI
    /// `http://ADDRESS/callback`.
    pub async fn serve(party: Party, listener: &TcpListener) -> io::Result<()> {
        let application = Arc::new(Self { party, pending: Mutex::new(Vec::new()) });
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await?;
            while connections.try_join_next().is_some() {}
            let application = Arc::clone(&application);
            connections.spawn(async move {
                let service = service_fn(|request| Self::answer(Arc::clone(&application), request));
                // A browser that goes away is its own affair.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    }

    /// The redirect URI for an address.
    pub fn redirect_uri(address: SocketAddr) -> String {
        format!("http://{address}/callback")
    }

    async fn answer(
        application: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let query_text = request.uri().query().unwrap_or_default();
        Ok(match request.uri().path() {
            "/" => page(StatusCode::OK, START),
            "/login" => application.send_away(),
            "/callback" => match application.signed_in(query_text).await {
                Ok(html) => page(StatusCode::OK, &html),
                Err(error) => {
                    let html = format!("<h1>Not signed in</h1><p>{}</p>{AGAIN}", escape(&error.to_string()));
                    page(StatusCode::BAD_REQUEST, &html)
                }
            },
            _ => page(StatusCode::NOT_FOUND, &format!("<h1>There is no such page</h1>{AGAIN}")),
        })
    }

    fn send_away(&self) -> Response<Full<Bytes>> {
        let login = self.party.begin();
        let mut response = page(StatusCode::FOUND, "");
        if let Ok(location) = HeaderValue::from_str(&login.url) {
            response.headers_mut().insert(LOCATION, location);
        }
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.len() >= MOST_PENDING {
            pending.remove(0);
        }
        pending.push(login);
        response
    }

    async fn signed_in(&self, callback: &str) -> Result<String, LoginError> {
        let state = query(callback, "state").unwrap_or_default();
        let login = {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            pending.iter().position(|login| login.state == state).map(|place| pending.remove(place))
        };
        let login = login.ok_or(LoginError::Wrong("this login did not begin here, or ended before"))?;
        let tokens = self.party.finish(&login, callback).await?;
        let userinfo = self.party.userinfo(&tokens).await?;
        let names = [member(&userinfo, "name"), member(&userinfo, "sub")];
        let name = names.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
        Ok(format!(
            "<h1>Hello, {}</h1><p>You are signed in, and nobody asked you for anything.</p>\
             <h2>ID token</h2>{}<h2>Userinfo</h2>{}{AGAIN}",
            escape(name),
            table(&tokens.claims),
            table(&userinfo)
        ))
    }
}

const START: &str = "<h1>Sample application</h1>\
    <p>It knows nobody. Its identity provider is tsidecar, on the next port.</p>\
    <p><a class=button href=/login>Sign in</a></p>";

const AGAIN: &str = "<p><a class=button href=/login>Sign in again</a></p>";

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem}\
    table{border-collapse:collapse;width:100%}td{border-bottom:1px solid #8884;padding:.4rem;overflow-wrap:anywhere;\
    vertical-align:top}td:first-child{font-weight:600;white-space:nowrap}\
    .button{display:inline-block;padding:.7rem 1.2rem;border-radius:.4rem;background:#2457d6;color:#fff;text-decoration:none}\
    :root{color-scheme:light dark}";

fn table(claims: &Value) -> String {
    let rows = claims.as_object().into_iter().flatten().fold(String::new(), |mut rows, (name, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        write!(rows, "<tr><td>{}</td><td>{}</td></tr>", escape(name), escape(&value)).unwrap_or_default();
        rows
    });
    format!("<table>{rows}</table>")
}

fn page(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width,initial-scale=1\"><title>Sample application</title>\
         <style>{STYLE}</style><body>{body}"
    );
    let mut response = Response::new(Full::new(Bytes::from(html)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
        ),
    );
    response
}
