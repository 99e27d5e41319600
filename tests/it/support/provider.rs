//! A provider whose documents the test changes, and which counts what it is asked.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{ETAG, IF_NONE_MATCH};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use super::{TestIssuer, own_server};

/// A provider on a thread of its own.
pub struct Provider {
    pub base: String,
    state: Arc<Mutex<State>>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Default)]
struct State {
    documents: BTreeMap<String, Document>,
    /// Those that come after the document was given once, each for once.
    later: BTreeMap<String, VecDeque<Document>>,
    asked: BTreeMap<String, usize>,
    connections: usize,
    /// What the introspection endpoint says of a token.
    tokens: BTreeMap<String, Value>,
    questions: Vec<Question>,
    /// Questions about tokens that begin so are not answered.
    held: Option<String>,
    released: Arc<Notify>,
}

#[derive(Clone)]
struct Document {
    status: u16,
    body: String,
    headers: Vec<(&'static str, String)>,
}

/// One request to the introspection endpoint.
#[derive(Clone, Debug)]
pub struct Question {
    pub authorization: Option<String>,
    pub form: String,
}

impl Provider {
    /// In clear text.
    pub fn start() -> Self {
        Self::serve("http", None)
    }

    /// Over TLS with the certificate `NAME.crt` of a folder, at 127.0.0.1.
    pub fn start_tls(folder: &Path, name: &str) -> Self {
        let chain = CertificateDer::pem_file_iter(folder.join(format!("{name}.crt")))
            .expect("a file")
            .collect::<Result<Vec<_>, _>>()
            .expect("certificates");
        let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate");
        Self::serve("https", Some(TlsAcceptor::from(Arc::new(config))))
    }

    fn serve(scheme: &str, tls: Option<TlsAcceptor>) -> Self {
        let (runtime, listener) = own_server();
        let base = format!("{scheme}://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                state.lock().expect("the state").connections += 1;
                tokio::spawn(connection(stream, tls.clone(), state));
            }
        });
        Self {
            base,
            state,
            _runtime: runtime,
        }
    }

    pub fn set(&self, path: &str, status: u16, document: &str) {
        self.set_with(path, status, document, &[]);
    }

    /// A document with headers of its own. An `etag` among them is compared.
    pub fn set_with(
        &self,
        path: &str,
        status: u16,
        document: &str,
        headers: &[(&'static str, &str)],
    ) {
        let headers = headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        let document = Document {
            status,
            body: document.to_owned(),
            headers: headers.collect(),
        };
        let mut state = self.state.lock().expect("the state");
        state.documents.insert(path.to_owned(), document);
    }

    /// Gives these documents one after another, the last from then on.
    pub fn set_in_turn(&self, path: &str, documents: &[String]) {
        let [first, later @ ..] = documents else {
            panic!("there is nothing to give");
        };
        self.set_with(path, 200, first, &[("content-type", "application/json")]);
        let later = later.iter().map(|body| Document {
            status: 200,
            body: body.clone(),
            headers: vec![("content-type", "application/json".to_owned())],
        });
        let mut state = self.state.lock().expect("the state");
        state.later.insert(path.to_owned(), later.collect());
    }

    /// Publishes the keys of issuers at `/jwks`.
    pub fn publish(&self, issuers: &[&TestIssuer]) {
        self.set("/jwks", 200, &set_of(issuers));
    }

    /// Says what a token is to the introspection endpoint, `/introspect`.
    pub fn say(&self, token: &str, answer: Value) {
        let mut state = self.state.lock().expect("the state");
        state.tokens.insert(token.to_owned(), answer);
    }

    /// The document is there no longer.
    pub fn forget(&self, path: &str) {
        self.state.lock().expect("the state").documents.remove(path);
    }

    /// Leaves questions about tokens with this beginning without an answer; `None` answers all.
    pub fn hold(&self, beginning: Option<&str>) {
        let mut state = self.state.lock().expect("the state");
        state.held = beginning.map(str::to_owned);
        state.released.notify_waiters();
    }

    pub fn asked(&self, path: &str) -> usize {
        let state = self.state.lock().expect("the state");
        state.asked.get(path).copied().unwrap_or_default()
    }

    pub fn connections(&self) -> usize {
        self.state.lock().expect("the state").connections
    }

    pub fn questions(&self) -> Vec<Question> {
        self.state.lock().expect("the state").questions.clone()
    }
}

/// The JWK set of issuers.
pub fn set_of(issuers: &[&TestIssuer]) -> String {
    let keys: Vec<Value> = issuers
        .iter()
        .map(|issuer| issuer.key.jwk().expect("a key"))
        .collect();
    json!({ "keys": keys }).to_string()
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, state: Arc<Mutex<State>>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let state = Arc::clone(&state);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.expect("a body").to_bytes();
            let response = answer(&state, &parts, &body);
            let form = String::from_utf8_lossy(&body).into_owned();
            let released = Arc::clone(&state.lock().expect("the state").released);
            loop {
                // Told from here on, so that no release is missed.
                let told = released.notified();
                if !is_held(&state, &form) {
                    break;
                }
                told.await;
            }
            Ok::<_, Infallible>(response)
        }
    });
    let server = hyper::server::conn::http1::Builder::new();
    // A client that goes away is no fault of the test.
    match tls {
        None => _ = server.serve_connection(TokioIo::new(stream), service).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            }
        }
    }
}

fn answer(state: &Mutex<State>, parts: &Parts, body: &[u8]) -> Response<Full<Bytes>> {
    let mut state = state.lock().expect("the state");
    let path = parts.uri.path();
    *state.asked.entry(path.to_owned()).or_default() += 1;
    if path == "/introspect" && !state.documents.contains_key(path) {
        return introspect(&mut state, parts, body);
    }
    let document = state.documents.get(path).cloned().unwrap_or(Document {
        status: 404,
        body: String::new(),
        headers: vec![],
    });
    if let Some(next) = state.later.get_mut(path).and_then(VecDeque::pop_front) {
        state.documents.insert(path.to_owned(), next);
    }
    let mut response = Response::new(Full::new(Bytes::from(document.body)));
    *response.status_mut() = StatusCode::from_u16(document.status).expect("a status");
    for (name, value) in document.headers {
        let value = value.parse().expect("a value");
        response.headers_mut().append(name, value);
    }
    let asked = parts.headers.get(IF_NONE_MATCH);
    if asked.is_some() && response.headers().get(ETAG) == asked {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Full::default();
    }
    response
}

fn is_held(state: &Mutex<State>, form: &str) -> bool {
    let state = state.lock().expect("the state");
    let held = state.held.as_ref();
    held.is_some_and(|beginning| form.contains(&format!("token={beginning}")))
}

fn introspect(state: &mut State, parts: &Parts, body: &[u8]) -> Response<Full<Bytes>> {
    let form = String::from_utf8(body.to_vec()).expect("UTF-8");
    let authorization = parts.headers.get("authorization");
    state.questions.push(Question {
        authorization: authorization.map(|value| value.to_str().expect("text").to_owned()),
        form: form.clone(),
    });
    let token = form.split('&').find_map(|pair| pair.strip_prefix("token="));
    let answer = state.tokens.get(token.unwrap_or_default()).cloned();
    let answer = answer.unwrap_or_else(|| json!({ "active": false }));
    Response::new(Full::new(Bytes::from(answer.to_string())))
}
