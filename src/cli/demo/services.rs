//! The demo's issuer and its sample API: two small servers on loopback.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::AUDIENCE;
use crate::clock::{Clock, SystemClock};
use crate::http::form;
use crate::signing::SigningKey;

/// The largest form that the token endpoint takes.
const FORM_BYTES_MAX: usize = 4096;
/// Tokens of the token endpoint live this long, in seconds.
const TOKEN_LIFE: i64 = 900;

/// Both servers; they end when this is dropped.
pub(super) struct Services {
    /// The issuer's identifier, and its address.
    pub(super) issuer: String,
    pub(super) api: SocketAddr,
    _runtime: Runtime,
}

/// Starts both on free ports.
pub(super) fn start(key: &SigningKey) -> std::io::Result<Services> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let (api, issuer) = runtime.block_on(async {
        let free = (Ipv4Addr::LOCALHOST, 0);
        Ok::<_, std::io::Error>((
            TcpListener::bind(free).await?,
            TcpListener::bind(free).await?,
        ))
    })?;
    let api_address = api.local_addr()?;
    let identifier = format!("http://{}", issuer.local_addr()?);
    runtime.spawn(serve(api, |request| async move { sample_api(&request) }));
    let shared = Arc::new((key.clone(), identifier.clone()));
    runtime.spawn(serve(issuer, move |request| {
        let shared = Arc::clone(&shared);
        async move { issuer_answer(request, &shared.0, &shared.1).await }
    }));
    Ok(Services {
        issuer: identifier,
        api: api_address,
        _runtime: runtime,
    })
}

async fn serve<F, R>(listener: TcpListener, answer: F)
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    while let Ok((stream, _)) = listener.accept().await {
        let answer = answer.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let response = answer(request);
                async move { Ok::<_, Infallible>(response.await) }
            });
            // A client that leaves is none of the demo's business.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn sample_api(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let told = |name: &str| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    answer(&json!({
        "message": "Hello from the API behind Bearward.",
        "method": request.method().as_str(),
        "path": request.uri().path(),
        "subject": told("x-auth-subject"),
        "scopes": told("x-auth-scopes"),
    }))
}

async fn issuer_answer(
    request: Request<Incoming>,
    key: &SigningKey,
    issuer: &str,
) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/.well-known/openid-configuration") => answer(&json!({
            "issuer": issuer,
            "jwks_uri": format!("{issuer}/jwks.json"),
            "token_endpoint": format!("{issuer}/token"),
        })),
        (&Method::GET, "/jwks.json") => answer(&json!({ "keys": [key.jwk()] })),
        // Opaque tokens: none that it knows is active.
        (&Method::POST, "/introspect") => answer(&json!({ "active": false })),
        (&Method::POST, "/token") => {
            let form = Limited::new(request.into_body(), FORM_BYTES_MAX)
                .collect()
                .await;
            let form = form.map(|form| form.to_bytes()).unwrap_or_default();
            token(&String::from_utf8_lossy(&form), key, issuer)
        }
        _ => {
            let mut response = answer(&json!({ "error": "not_found" }));
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    }
}

/// A token for anybody who asks: the demo's issuer knows no clients. `scope` and `typ` are what they say; the members of
/// `claims`, a JSON object, replace those of the token, and null takes one out.
fn token(form: &str, key: &SigningKey, issuer: &str) -> Response<Full<Bytes>> {
    let fields = form::fields(form).unwrap_or_default();
    let field = |name: &str| {
        let mut all = fields.iter().filter(|(field, _)| field == name);
        all.next().map(|(_, value)| value.to_string())
    };
    let scope = field("scope").unwrap_or_else(|| "orders:read".to_owned());
    let now = SystemClock.now().secs();
    let mut claims = json!({
        "iss": issuer,
        "aud": AUDIENCE,
        "sub": "demo-user",
        "client_id": "demo-client",
        "iat": now,
        "exp": now + TOKEN_LIFE,
        "jti": uuid::Uuid::now_v7().to_string(),
        "scope": scope,
    });
    let changes = field("claims").map(|text| serde_json::from_str(&text).unwrap_or_default());
    if let (Some(claims), Some(Value::Object(changes))) = (claims.as_object_mut(), changes) {
        claims.extend(changes);
        claims.retain(|_, value| !value.is_null());
    }
    let typ = field("typ").unwrap_or_else(|| "at+jwt".to_owned());
    match key.sign(Some(&typ), &claims) {
        Ok(token) => answer(&json!({
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": TOKEN_LIFE,
            "scope": scope,
        })),
        Err(_) => {
            let mut response = answer(&json!({ "error": "server_error" }));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

fn answer(body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{body}\n"))));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
