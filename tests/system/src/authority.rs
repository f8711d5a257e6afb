//! A certificate authority: issues certificates by hand, and by ACME as far as a tracker asks (RFC 8555).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderName;
use axum::response::{IntoResponse, Json};
use axum::routing::{get, post};
use axum::{Router, http};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::{BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::CertificateSigningRequestDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::https;

/// The name that the ACME authority gives certificates for.
pub const NAME: &str = "tv.example.org";
const TOKEN: &str = "a-token-of-the-authority";

/// A certificate authority of a test.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: String,
}

/// A certificate and its key, in PEM.
#[derive(Debug)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// One that nobody knows yet.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), root }
    }

    /// Its own certificate, in PEM, for those who shall trust it.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// A certificate for this name or address.
    pub fn issue(&self, name: &str) -> Issued {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Issued { certificate, key: key.serialize_pem() }
    }

    /// Gives certificates for [`NAME`] by ACME to who answers at `holder`, until it is aborted. Returns its directory's URL.
    pub async fn serve(self, holder: SocketAddr) -> (String, AbortHandle) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("https://{}", listener.local_addr().unwrap());
        let directory = format!("{origin}/directory");
        let server = https::server(&self.issue("127.0.0.1"));
        let order = Order { origin, holder, account: Value::Null, is_proven: false, certificate: None };
        let desk = Arc::new(Desk { authority: self, order: Mutex::new(order) });
        (directory, tokio::spawn(https::serve(listener, server, routes(desk))).abort_handle())
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// The one order that an authority takes.
struct Order {
    origin: String,
    /// Who has to show that it holds the name.
    holder: SocketAddr,
    /// The asker's public key, a JWK.
    account: Value,
    is_proven: bool,
    certificate: Option<String>,
}

struct Desk {
    authority: Authority,
    order: Mutex<Order>,
}

type AtDesk = State<Arc<Desk>>;

fn routes(desk: Arc<Desk>) -> Router {
    let url = |State(desk): AtDesk| async move {
        let origin = desk.order.lock().unwrap().origin.clone();
        Json(json!({
            "newNonce": format!("{origin}/nonce"),
            "newAccount": format!("{origin}/account"),
            "newOrder": format!("{origin}/order"),
        }))
    };
    Router::new()
        .route("/directory", get(url))
        .route("/nonce", get(async || ([(HeaderName::from_static("replay-nonce"), "a-nonce")], "")))
        .route("/account", post(account))
        .route("/order", post(order))
        .route("/authorization", post(authorization))
        .route("/challenge", post(challenge))
        .route("/finalize", post(finalize))
        .route("/certificate", post(certificate))
        .with_state(desk)
}

/// A field of a signed request (RFC 7515), decoded. The signature itself is not looked at.
fn field(body: &Bytes, name: &str) -> Value {
    let signed: Value = serde_json::from_slice(body).unwrap();
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(signed[name].as_str().unwrap()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

async fn account(State(desk): AtDesk, body: Bytes) -> impl IntoResponse {
    let mut order = desk.order.lock().unwrap();
    order.account = field(&body, "protected")["jwk"].clone();
    ([(http::header::LOCATION, format!("{}/accounts/1", order.origin))], Json(json!({ "status": "valid" })))
}

async fn order(State(desk): AtDesk) -> impl IntoResponse {
    let order = desk.order.lock().unwrap();
    ([(http::header::LOCATION, format!("{}/order", order.origin))], Json(order.status()))
}

impl Order {
    fn status(&self) -> Value {
        let status = match (&self.certificate, self.is_proven) {
            (Some(_), _) => "valid",
            (None, true) => "ready",
            (None, false) => "pending",
        };
        let origin = &self.origin;
        json!({
            "status": status,
            "authorizations": [format!("{origin}/authorization")],
            "finalize": format!("{origin}/finalize"),
            "certificate": format!("{origin}/certificate"),
        })
    }
}

async fn authorization(State(desk): AtDesk) -> Json<Value> {
    let order = desk.order.lock().unwrap();
    let status = if order.is_proven { "valid" } else { "pending" };
    let challenge =
        json!({ "type": "tls-alpn-01", "url": format!("{}/challenge", order.origin), "token": TOKEN });
    Json(json!({
        "status": status,
        "identifier": { "type": "dns", "value": NAME },
        "challenges": [challenge],
    }))
}

/// Asks the holder of the name for the proof (RFC 8737): a certificate with the digest of token and account.
async fn challenge(State(desk): AtDesk) -> Json<Value> {
    let (holder, account) = {
        let order = desk.order.lock().unwrap();
        (order.holder, order.account.clone())
    };
    let shown = https::certificate_of(holder, NAME, &[b"acme-tls/1"]).await;
    let proof = proof(&account);
    let is_proven = shown.windows(proof.len()).any(|bytes| bytes == proof);
    desk.order.lock().unwrap().is_proven |= is_proven;
    Json(json!({ "type": "tls-alpn-01", "token": TOKEN }))
}

/// SHA-256 of the key authorization (RFC 8555, section 8.1; RFC 7638).
fn proof(account: &Value) -> Vec<u8> {
    let digest = |text: &str| ring::digest::digest(&ring::digest::SHA256, text.as_bytes()).as_ref().to_vec();
    let part = |name: &str| account[name].as_str().unwrap();
    let key = format!(
        r#"{{"crv":"{}","kty":"{}","x":"{}","y":"{}"}}"#,
        part("crv"),
        part("kty"),
        part("x"),
        part("y")
    );
    digest(&format!("{TOKEN}.{}", BASE64_URL_SAFE_NO_PAD.encode(digest(&key))))
}

async fn finalize(State(desk): AtDesk, body: Bytes) -> Json<Value> {
    let csr = BASE64_URL_SAFE_NO_PAD.decode(field(&body, "payload")["csr"].as_str().unwrap()).unwrap();
    let csr = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr)).unwrap();
    let issued = csr.signed_by(&desk.authority.issuer).unwrap().pem();
    let mut order = desk.order.lock().unwrap();
    assert!(order.is_proven, "a certificate is asked for without proof");
    order.certificate = Some(issued);
    Json(order.status())
}

async fn certificate(State(desk): AtDesk) -> String {
    desk.order.lock().unwrap().certificate.clone().unwrap()
}
