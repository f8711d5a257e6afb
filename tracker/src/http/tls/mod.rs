//! HTTPS of the tracker's own: where its certificate comes from, and how it is replaced while connections stand.

mod acme;
mod files;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::ResolvesServerCert;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use acme::Acme;
pub use files::Files;

/// Time for a connection to become HTTPS: some round trips over a bad link.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// By which a certificate authority asks who holds a name (RFC 8737).
const ACME_PROTOCOL: &[u8] = b"acme-tls/1";

/// Where the certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificate {
    /// Files that somebody else keeps up to date.
    Files(Files),
    /// An authority that gives it by itself.
    Acme(Acme),
}

impl Certificate {
    /// What there is, for people; nobody is asked.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn check(&self) -> Result<String, String> {
        match self {
            Self::Files(files) => {
                files.read().map_err(|error| error.to_string())?;
                Ok(format!("{} can be used", files.certificate.display()))
            }
            Self::Acme(acme) => {
                acme::roots(acme.roots.as_deref()).map_err(|error| error.to_string())?;
                Ok(format!("{} gives one for {}", acme.directory, acme.domains.join(", ")))
            }
        }
    }
}

/// Why there is no HTTPS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not what it should be.
    #[error("cannot use {path} as {purpose}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// Such as "the certificate".
        purpose: &'static str,
        /// Why not.
        reason: String,
    },
    /// The key belongs to another certificate.
    #[error("the key in {key} is not that of the certificate in {certificate}")]
    OtherKey {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The library has none of what it needs; a defect of this build.
    #[error("TLS cannot be set up")]
    Setup(#[from] rustls::Error),
}

/// Makes HTTPS of connections. Cheap to clone.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl Tls {
    /// Takes the certificate, and keeps it up to date until `stop`.
    ///
    /// # Errors
    /// When files cannot be used. An authority that does not answer is asked again, and again; until it gives a
    /// certificate, handshakes fail.
    pub(crate) fn open(
        certificate: Certificate,
        stop: CancellationToken,
        tasks: &TaskTracker,
    ) -> Result<Self, TlsError> {
        let resolver: Arc<dyn ResolvesServerCert> = match certificate {
            Certificate::Files(files) => {
                let (held, keeping) = files::open(files, stop)?;
                tasks.spawn(keeping);
                held
            }
            Certificate::Acme(acme) => {
                let (held, keeping) = acme::open(acme, stop)?;
                tasks.spawn(keeping);
                held
            }
        };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = [b"h2".as_slice(), b"http/1.1", ACME_PROTOCOL].map(<[u8]>::to_vec).into();
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// The connection as HTTPS; `None` when it does not become that in time.
    pub(super) async fn accept(&self, stream: TcpStream) -> Option<Box<TlsStream<TcpStream>>> {
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, self.0.accept(stream)).await {
            Ok(Ok(stream)) => Some(Box::new(stream)),
            Ok(Err(error)) => {
                tracing::debug!("TLS handshake failed: {error}");
                None
            }
            Err(_) => {
                tracing::debug!("TLS handshake took more than {} s", HANDSHAKE_TIMEOUT.as_secs());
                None
            }
        }
    }
}

/// Named each time: a binary in which two libraries each bring another as the default panics when it is asked for.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
